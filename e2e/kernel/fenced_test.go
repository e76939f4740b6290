// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rds-csi/rds-csi/e2e/await"
	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/e2e/kernel"
)

// A fenced is a volume that a node loses, again and again.
type fenced struct {
	story
	kind int // of fences
	spec kernel.Spec
	left bool // to itself, once it was fenced, until the lost node comes back to Kubernetes
	v    *kernel.Volume

	round      int
	lost, next *guest.Node
	flood      []*kernel.Writer // of the lost node
	target     *kernel.Writer   // of a migration's target; nil: there is none
	fills      []filled         // what the next node has in the places of the flood

	answered time.Time // when Unpublish had answered
	last     time.Time // when the lost node's last write reached the box
	writes   int64     // of the lost node in all
	disk     [][]byte  // the places of the flood when Unpublish had answered

	seen           []sighting // of each round
	stalls         []time.Duration
	kernel, driver string // what they did of one that was left to itself
}

// renew has another volume on a node: after an export went off and on, that is not done again for a while.
func (r *fenced) renew(ctx context.Context, n *guest.Node) (err error) {
	if r.v != nil {
		if err := errors.Join(r.v.Detach(ctx, n), r.v.Delete(ctx)); err != nil {
			return err
		}
	}
	if r.v, err = r.NewVolume(ctx, r.spec); err != nil {
		return err
	}
	return r.v.Attach(ctx, n)
}

// A filled is a place that was written once.
type filled struct {
	*kernel.Writer
	told api.Written
}

// A sighting is what was seen of one run.
type sighting struct {
	before time.Duration // the last write of the lost node came so long before the answer
	tried  time.Duration // the lost node went on trying for so long
}

// join brings a migration's target to the volume.
func (r *fenced) join(ctx context.Context, round int, lost, next *guest.Node) error {
	r.round, r.lost, r.next, r.flood, r.target, r.fills = round, lost, next, nil, nil, nil
	if !fences[r.kind].both {
		return nil
	}
	// A controller that has just started asks the attacher to come again.
	if err := await.Nil(ctx, func(ctx context.Context) error { return r.v.Attach(ctx, next) }); err != nil {
		return err
	}
	w, err := r.v.Load(ctx, next, kernel.Load{Ring: r.targetRing(next, fmt.Sprintf("%s/%d", next.Name(), round)), Pause: targetPause})
	r.target = w
	return err
}

// targetPause is the time between two writes of a migration's target.
const targetPause = 100 * time.Millisecond

// begin lets the node that will be lost write to all of its places. With a flood all the time it would get nowhere.
func begin(ctx context.Context, r *fenced) error {
	for i, l := range flood {
		w, err := r.v.Load(ctx, r.lost, kernel.Load{Ring: r.floodRing(r.lost, i, fmt.Sprintf("%s/%d", r.lost.Name(), r.round)), Way: l.way, Hold: uint64(l.slots)})
		if err != nil {
			return err
		}
		r.flood = append(r.flood, w)
	}
	return nil
}

// fill waits until all places have been written to.
func fill(ctx context.Context, r *fenced) error {
	for i, w := range r.flood {
		if err := w.Reach(ctx, uint64(flood[i].slots)); err != nil {
			return err
		}
	}
	if r.target != nil {
		return r.target.Await(ctx, 8)
	}
	return nil
}

// revoke takes the volume from the lost node.
func revoke(ctx context.Context, r *fenced) error {
	err := r.v.Revoke(ctx, r.lost)
	r.answered = time.Now()
	if err != nil {
		return err
	}
	if r.disk, err = r.places(ctx); err != nil {
		return err
	}
	r.last, r.writes, err = r.Box.Written(ctx, r.v.ID, r.lost.HostNQN())
	switch {
	case err != nil:
		return err
	case r.writes == 0:
		return fmt.Errorf("%s has never written to %s, so nothing would be proved", r.lost.Name(), r.v.ID)
	case r.last.After(r.answered):
		return fmt.Errorf("%s wrote to %s %v after Unpublish had answered", r.lost.Name(), r.v.ID, r.last.Sub(r.answered))
	}
	return nil
}

// places reads where the lost node writes, past the box.
func (r *fenced) places(ctx context.Context) ([][]byte, error) {
	var places [][]byte
	for i := range flood {
		ring := r.floodRing(r.lost, i, r.lost.Name())
		p := make([]byte, ring.Length())
		if err := r.Box.Content(ctx, r.v.ID, p, ring.Base); err != nil {
			return nil, err
		}
		places = append(places, p)
	}
	return places, nil
}

// handOver lets the next node read what the lost one has written, and write in its places.
func handOver(ctx context.Context, r *fenced) error {
	if !fences[r.kind].both {
		// As the attacher and kubelet do, who come again.
		if err := await.Nil(ctx, func(ctx context.Context) error { return r.v.Attach(ctx, r.next) }); err != nil {
			return err
		}
	}
	for _, w := range r.flood {
		told, err := w.Written(ctx)
		if err != nil {
			return err
		}
		if err := w.Verify(ctx, r.next, told); err != nil {
			return err
		}
	}
	now, err := r.places(ctx)
	if err != nil {
		return err
	}
	for i := range now {
		if !bytes.Equal(now[i], r.disk[i]) {
			return fmt.Errorf("what is on the disk of %s has changed since %s was fenced and before %s wrote", r.v.ID, r.lost.Name(), r.next.Name())
		}
	}
	for i := range flood {
		w, told, err := r.v.Fill(ctx, r.next, r.floodRing(r.lost, i, fmt.Sprintf("%s over %s/%d", r.next.Name(), r.lost.Name(), r.round)))
		if err != nil {
			return err
		}
		r.fills = append(r.fills, filled{w, told})
	}
	return nil
}

// tries is for how long the lost node must have tried after it was fenced: its kernel does so every two seconds.
const tries = 5 * time.Second

// outlast waits until the lost node has tried again and again, and the one that stays goes on.
func outlast(ctx context.Context, r *fenced) error {
	if r.target != nil {
		if err := r.target.Await(ctx, 8); err != nil {
			return err
		}
	}
	wait(ctx, time.Until(r.answered.Add(tries)))
	for _, w := range r.flood {
		told, err := w.Written(ctx)
		if err != nil {
			return err
		}
		if told.Begun <= told.Acked {
			return fmt.Errorf("%s does not try to write to %s any more: %+v", r.lost.Name(), r.v.ID, told)
		}
	}
	return r.silent(ctx)
}

// silent fails if the lost node has written since.
func (r *fenced) silent(ctx context.Context) error {
	last, writes, err := r.Box.Written(ctx, r.v.ID, r.lost.HostNQN())
	if err == nil && writes != r.writes {
		err = fmt.Errorf("%s wrote to %s %d times more, the last time %v after Unpublish had answered", r.lost.Name(), r.v.ID, writes-r.writes, last.Sub(r.answered))
	}
	return err
}

// endFenced ends the writers of a node that has noticed that it lost the volume, and looks at what is on the disk at last.
func endFenced(ctx context.Context, r *fenced) error {
	var errs []error
	for _, w := range r.flood {
		if _, err := w.End(ctx); err != nil {
			return err
		}
	}
	r.seen = append(r.seen, sighting{before: r.answered.Sub(r.last), tried: time.Since(r.answered)})
	errs = append(errs, r.v.Unmount(ctx, r.lost), r.silent(ctx))
	for _, f := range r.fills {
		errs = append(errs, f.Verify(ctx, r.next, f.told))
	}
	if r.target == nil {
		return errors.Join(errs...)
	}
	told, err := r.target.End(ctx)
	if err != nil {
		return err
	}
	r.stalls = append(r.stalls, told.Longest)
	if len(told.Errors) > 0 {
		errs = append(errs, fmt.Errorf("%s, which stays, got %v", r.next.Name(), told.Errors))
	}
	return errors.Join(append(errs, r.target.Verify(ctx, r.next, told))...)
}

// tellsOfSendingAway reports whether a node plugin's log says that it has given the volume up.
func (r *fenced) tellsOfSendingAway(log string) bool {
	return slices.ContainsFunc(strings.Split(log, "\n"), func(line string) bool {
		return strings.Contains(line, "gave up a volume that is not this node's any more") && strings.Contains(line, string(r.v.ID))
	})
}

// old reports whether a node's kernel goes on reconnecting when it is told not to.
func old(n *guest.Node) bool { return strings.HasPrefix(n.Kernel(), "6.1.") }

// comeBack has the kubelet of a node that was lost find a volume that the node has lost meanwhile. The kernel's connection
// has gone by then, or the node plugin has asked the box and sent it away, so that what wrote has ended. Only where the
// box tells the lost node nothing of who has the volume, and the kernel is one that goes on for ever, a person is needed.
func comeBack(ctx context.Context, r *fenced) error {
	byHand := old(r.lost) && fences[r.kind].fencing == "host" && !fences[r.kind].both
	if byHand {
		err := r.v.Unmount(ctx, r.lost)
		if status.Code(errors.Unwrap(err)) != codes.FailedPrecondition || !strings.Contains(err.Error(), "is in use (open in process 1)") {
			return fmt.Errorf("%s would unstage %s, which is in use: %w", r.lost.Name(), r.v.ID, err)
		}
		if err := r.cutOff(ctx, r.lost, r); err != nil {
			return err
		}
	}
	if err := await.Nil(ctx, func(ctx context.Context) error {
		names, err := r.controllersOf(ctx, r.lost, r)
		if err == nil && len(names) > 0 {
			err = fmt.Errorf("%s has still %v", r.lost.Name(), names)
		}
		return err
	}); err != nil {
		return err
	}
	sentAway := old(r.lost) && !byHand
	if err := await.Nil(ctx, func(ctx context.Context) error { // it tells of it when the kernel has done it
		log, err := r.lost.Log(ctx)
		if err == nil && sentAway != r.tellsOfSendingAway(log) {
			err = fmt.Errorf("%s tells of having given up %s: %t", r.lost.Name(), r.v.ID, !sentAway)
		}
		return err
	}); err != nil {
		return err
	}
	r.kernel, r.driver = "gave up when it was refused", "lost"
	if sentAway {
		r.kernel, r.driver = "goes on for ever", "waiting, then gave the connection up"
	} else if byHand {
		r.kernel, r.driver = "goes on for ever", "waiting, and a person ends it"
	}
	return endFenced(ctx, r)
}
