// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/e2e/await"
	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/e2e/kernel"
	"github.com/rds-csi/rds-csi/e2e/stamp"
)

// The runs of a fence: so many volumes of each kind are fenced side by side, and that so often. The nodes take turns in
// being lost, so that who was handed a volume loses it next. With one volume of each kind that is left to itself these
// are fifty on two kernels.
const (
	fencedVolumes = 8
	fencedRounds  = 3
)

// fences are the kinds of fence.
var fences = []struct {
	name    string
	fencing string
	both    bool // the volume is with the other node, too, as a migration's target, and stays there
}{
	{"`epoch`: the last node is lost", "epoch", false},
	{"`host`: the last node is lost", "host", false},
	{"`host`: a migration's source is lost", "host", true},
}

// What a node that will be lost keeps in flight on each volume, each with a ring of its own and without a pause.
var flood = []struct {
	way          api.Way
	slots, parts int
}{
	{api.Direct, 4, 1},   // the data come with the command
	{api.Direct, 2, 16},  // the box asks for them
	{api.Durable, 2, 4},  // and then the box is to flush them
	{api.Buffered, 4, 4}, // the kernel has them, and writes them back
}

// floodRoom is how much room there is for a ring, in bytes.
const floodRoom = mib

// floodRing is the place on each volume of the load that a node keeps in flight. Writer is who writes there.
func (s story) floodRing(n *guest.Node, load int, writer string) stamp.Ring {
	at, l := load, flood[load]
	if n == s.b {
		at += len(flood)
	}
	return stamp.Ring{Writer: writer, Base: int64(at) * floodRoom, Slots: l.slots, Parts: l.parts}
}

// targetRing is the place on each volume for a migration's target.
func (s story) targetRing(n *guest.Node, writer string) stamp.Ring {
	at := 2 * len(flood)
	if n == s.b {
		at++
	}
	return stamp.Ring{Writer: writer, Base: int64(at) * floodRoom, Slots: 8, Parts: 4}
}

// fence takes volumes from a node that has not given them up, and that goes on writing to them with all that it has: it is
// cut off from Kubernetes and not from the box. From when Unpublish has answered OK nothing of it is in the box's
// journal or on the disk.
func fence(t *testing.T, s story) {
	var runs []*fenced
	for i := range fencedVolumes + 1 {
		for kind, k := range fences {
			spec := kernel.Spec{Size: 64 * mib, Shared: k.both, Parameters: map[string]string{"fencing": k.fencing}}
			runs = append(runs, &fenced{story: s, kind: kind, spec: spec, left: i == 0})
		}
	}
	must(t, all(t, runs, func(ctx context.Context, r *fenced) error { return r.renew(ctx, s.a) }))
	s.fenceRound(t, runs, 1, s.a, s.b)
	left, again := runs[:len(fences)], runs[len(fences):]
	lost, next := s.b, s.a
	for round := 2; round <= fencedRounds; round++ {
		s.fenceRound(t, again, round, lost, next)
		lost, next = next, lost
	}
	must(t, all(t, left, comeBack), s.Know(t.Context(), s.a.Name(), s.b.Name()))
	must(t, all(t, runs, func(ctx context.Context, r *fenced) error {
		return errors.Join(r.v.Detach(ctx, r.next), r.v.Delete(ctx))
	}))
	for _, n := range []*guest.Node{s.a, s.b} {
		s.gone(t, n, runs[0].v)
	}
	for kind, k := range fences {
		s.sumFences(t, k.name, slices.DeleteFunc(slices.Clone(runs), func(r *fenced) bool { return r.kind != kind }))
	}
}

// fenceRound takes all volumes from a node at once. They are with the other one after it.
func (s story) fenceRound(t *testing.T, runs []*fenced, round int, lost, next *guest.Node) {
	t.Helper()
	must(t, s.Know(t.Context(), next.Name()))
	type step struct {
		name string
		do   func(ctx context.Context, r *fenced) error
	}
	tell := func(steps ...step) {
		for _, step := range steps {
			if err := all(t, runs, step.do); err != nil {
				t.Fatalf("round %d, %s: %v", round, step.name, err)
			}
		}
	}
	tell(step{"join", func(ctx context.Context, r *fenced) error { return r.join(ctx, round, lost, next) }}, step{"begin", begin}, step{"fill", fill})
	must(t, s.flood(t.Context(), lost, runs))
	tell(step{"revoke", revoke}, step{"hand over", handOver}, step{"outlast", outlast})
	runs = slices.DeleteFunc(slices.Clone(runs), func(r *fenced) bool { return r.left })
	must(t, s.cutOff(t.Context(), lost, runs...))
	tell(step{"end", endFenced})
	if round == fencedRounds {
		return
	}
	tell(step{"renew", func(ctx context.Context, r *fenced) error {
		if !fences[r.kind].both {
			return nil
		}
		return r.renew(ctx, next)
	}})
}

// all does something for each run at the same time.
func all(t *testing.T, runs []*fenced, do func(context.Context, *fenced) error) error {
	t.Helper()
	errs := make([]error, len(runs))
	var doing sync.WaitGroup
	for i, r := range runs {
		doing.Go(func() {
			if err := do(t.Context(), r); err != nil {
				errs[i] = fmt.Errorf("%s: %w", fences[r.kind].name, err)
			}
		})
	}
	doing.Wait()
	return errors.Join(errs...)
}

// flood lets a node write for all that it is worth, and returns when each volume has some of that.
func (s story) flood(ctx context.Context, n *guest.Node, runs []*fenced) error {
	before, err := s.Box.Journal(ctx)
	if err != nil {
		return err
	}
	if err := kernel.Free(ctx, n); err != nil {
		return err
	}
	return await.Nil(ctx, func(ctx context.Context) error {
		now, err := s.Box.Journal(ctx)
		for _, r := range runs {
			_, first := before.Written(r.v.ID, n.HostNQN())
			if _, count := now.Written(r.v.ID, n.HostNQN()); err == nil && count < first+int64(len(flood)) {
				err = fmt.Errorf("%s has written %d times to %s", n.Name(), count-first, r.v.ID)
			}
		}
		return err
	})
}

// controllersOf returns the names of a node's controllers of volumes.
func (s story) controllersOf(ctx context.Context, n *guest.Node, runs ...*fenced) ([]string, error) {
	nqns, err := kernel.Controllers(ctx, n, "subsysnqn")
	var names []string
	for name, nqn := range nqns {
		if slices.ContainsFunc(runs, func(r *fenced) bool { return strings.Contains(nqn, string(r.v.ID)) }) {
			names = append(names, name)
		}
	}
	return names, err
}

// cutOff does what a person does who does not wait for the driver: I/O waits for as long as the kernel tries to
// reconnect. The node plugin may be about to do the same.
func (s story) cutOff(ctx context.Context, n *guest.Node, runs ...*fenced) error {
	names, err := s.controllersOf(ctx, n, runs...)
	if err != nil {
		return err
	}
	return kernel.DeleteControllers(ctx, n, names...)
}

// sumFences tells of all runs of a kind.
func (s story) sumFences(t *testing.T, kind string, runs []*fenced) {
	t.Helper()
	var seen []sighting
	var stalls []time.Duration
	row := kernel.Row{Table: "fences", Event: kind, Volume: "block"}
	for _, r := range runs {
		seen, stalls = append(seen, r.seen...), append(stalls, r.stalls...)
		if r.left {
			row.Kernel, row.Driver = r.kernel, r.driver
		}
	}
	tried := slices.MinFunc(seen, func(a, b sighting) int { return int(a.tried - b.tried) }).tried
	row.Figures = []kernel.Figure{
		{Name: "runs", Value: strconv.Itoa(len(seen))},
		{Name: "the last write came before the answer", Value: spread(seen, func(s sighting) time.Duration { return s.before })},
		{Name: "tried on for", Value: kernel.Took(tried) + " or longer"},
	}
	if len(stalls) > 0 {
		row.Figures = append(row.Figures, kernel.Figure{
			Name: "longest write of the target", Value: spread(stalls, func(d time.Duration) time.Duration { return d }),
		})
	}
	s.saw(t, row)
}

// spread tells the least, the median and the most of durations.
func spread[T any](all []T, of func(T) time.Duration) string {
	var list []time.Duration
	for _, x := range all {
		list = append(list, of(x))
	}
	slices.Sort(list)
	return fmt.Sprintf("%s, %s, %s", kernel.Took(list[0]), kernel.Took(list[len(list)/2]), kernel.Took(list[len(list)-1]))
}
