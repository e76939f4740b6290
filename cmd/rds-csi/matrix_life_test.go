// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// The nodes of a life. What was granted to lostNode is taken away by force.
const (
	lostNode  actors.NodeID = "node-lost"
	otherNode actors.NodeID = "node-b"
)

// The sizes of a life's volume in bytes: as asked for, and as they must be.
const (
	askedSize = 1<<20 + 1
	firstSize = 1<<20 + 512
	grownSize = 3<<20 + 512
)

const (
	// callTimeout is the deadline of one request.
	callTimeout = 5 * matrixTimeout
	// lifeTimeout is how long a volume may take from its creation to its end.
	lifeTimeout = 2 * time.Minute
	// soonest and latest are how long after an answer a request is repeated: twice as long each time.
	soonest = matrixTimeout / 40
	latest  = matrixTimeout / 4
	// refusals is how often a request is repeated that is bound to fail.
	refusals = 3
)

// matrixID returns the ID of a volume.
func matrixID(n int) string { return fmt.Sprintf("pvc-5ca1ab1e-0000-4000-8000-%012d", n) }

// A life is one volume's, from its creation to its end, as the sidecars lead it.
type life struct {
	*matrixBox
	id      string
	fencing actors.Fencing
	trouble *trouble // nil: none
	variation

	// What was answered so far, and the box must show.
	exists  bool
	gone    bool
	size    int64
	granted []actors.NodeID
	context map[string]string // of the publish that was answered last

	forgot bool // the box was made to forget what was acknowledged, since the step began or before
}

// A step is one request of a life.
type step struct {
	name string
	call func(context.Context) error
	// check compares an answer of OK with the box.
	check func() error
}

// live leads the life. It returns the first disagreement of an answer with the box.
func (l *life) live(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lifeTimeout)
	defer cancel()
	for _, s := range l.steps() {
		if err := l.insist(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	l.injector.answered()
	l.troubles.Wait()
	if l.trouble != nil && l.trouble.fills {
		l.fill(-1)
	}
	if failed := l.failed.Swap(nil); failed != nil {
		return *failed
	}
	if err := l.checkGone(); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	return l.strangers(l.id)
}

func (l *life) steps() []step {
	create := step{"create", l.create, l.checkRow}
	end := step{"delete", l.remove, l.checkGone}
	return []step{
		create, create,
		l.publish(lostNode), l.publish(lostNode),
		{"expand", l.expand, l.checkRow},
		l.publish(otherNode),
		l.unpublish(lostNode), l.unpublish(otherNode), l.unpublish(otherNode),
		end, end,
	}
}

// insist repeats a request until it is answered for good, and checks each answer.
func (l *life) insist(ctx context.Context, s step) error {
	for tries := 1; ; tries++ {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		answer := s.call(call)
		cancel()
		met := l.injector.answered()
		l.forgot = l.forgot || met && l.trouble != nil && l.trouble.forgets
		done, err := l.judge(ctx, s, answer)
		if err != nil || done {
			return err
		}
		if l.blocked(s, answer) {
			// What the operator is told to do; a delete does it, too.
			if err := l.insist(ctx, step{"delete what is in the way", l.remove, l.checkGone}); err != nil {
				return err
			}
			l.gone = false
		}
		if l.lone && s.name == "publish "+string(otherNode) && tries == refusals {
			l.granted = l.granted[:1] // the comment has no room for it
			return nil
		}
		if met && l.trouble != nil && l.trouble.fills {
			l.fill(-1)
		}
		if pause(ctx, min(soonest<<min(tries-1, 10), latest)) != nil {
			return fmt.Errorf("no end after %d requests, the last of which was answered: %w", tries, answer)
		}
	}
}

// maybe are the codes that the sidecars take for "it may be in progress".
var maybe = []codes.Code{codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.ResourceExhausted, codes.Aborted}

// judge compares an answer with the box, and reports whether the step is done.
func (l *life) judge(ctx context.Context, s step, answer error) (done bool, disagreement error) {
	switch code := status.Code(csi.Status(answer)); {
	case answer == nil:
		return true, l.eventually(ctx, s)
	case code == codes.ResourceExhausted && !l.exists:
		return false, l.checkNothing()
	case slices.Contains(maybe, code):
		return false, nil
	case code == codes.FailedPrecondition && l.lost("/disk/set") && s.name == "delete" && l.attached():
		return false, nil // the box forgot the detach, which is written again
	case code == codes.NotFound && l.lost("/disk/add") && len(l.rows(l.id)) == 0:
		return true, nil // nobody makes it again; a delete finds its file
	default:
		return false, fmt.Errorf("a final answer, which nothing called for: %w", answer)
	}
}

// blocked reports whether a create was told of a file that is in its way: one that is left of a row that the
// box has lost, on a box that adds no disk over it. Whose it is the driver cannot know, so it stays.
func (l *life) blocked(s step, answer error) bool {
	_, left := l.file(l.id)
	return s.name == "create" && l.sw.RefuseFile && l.trouble != nil && l.trouble.loses && left && len(l.rows(l.id)) == 0 &&
		status.Code(csi.Status(answer)) == codes.Unavailable && strings.Contains(answer.Error(), "/file/remove "+fileOf(l.id)+" ")
}

// lost reports whether the box was made to forget a change that it had acknowledged, and that was such a
// command. What was answered and what the box shows may differ in that alone: the driver has written it once,
// and has no record but the box's.
func (l *life) lost(name string) bool { return l.forgot && l.injector.lastChange().name == name }

// attached reports whether the box shows a grant.
func (l *life) attached() bool {
	return slices.ContainsFunc(l.rows(l.id), func(d sim.Disk) bool {
		ledger, ours, err := actors.ParseLedger(d.Comment)
		return err == nil && ours && len(ledger.Grants) > 0
	})
}

// eventually makes the check of a step. What the box forgot that was acknowledged is written again as soon as
// the driver sees it. A publish under which the box forgets a size tells the one that was acknowledged, of which a
// node refuses a device that is smaller; one that is repeated tells what the box shows.
func (l *life) eventually(ctx context.Context, s step) error {
	for {
		err := s.check()
		if err == nil || !l.forgot || pause(ctx, latest) != nil {
			return err
		}
		if l.lost(resize) && strings.HasPrefix(s.name, "publish ") {
			_ = s.call(ctx) // where it fails, the check fails again
		}
	}
}

func (l *life) create(ctx context.Context) error {
	resp, err := l.controller.CreateVolume(ctx, &csipb.CreateVolumeRequest{
		Name: l.id, CapacityRange: &csipb.CapacityRange{RequiredBytes: askedSize},
		VolumeCapabilities: []*csipb.VolumeCapability{sharedBlock()},
		Parameters:         map[string]string{"fencing": l.fencing.String(), "nvmePort": "20000-20099"},
	})
	if err != nil {
		return err
	}
	if v := resp.GetVolume(); v.GetVolumeId() != l.id || v.GetCapacityBytes() != firstSize {
		return status.Errorf(codes.DataLoss, "answered %v", v)
	}
	l.exists, l.size = true, firstSize
	return nil
}

func (l *life) publish(node actors.NodeID) step {
	return step{"publish " + string(node), func(ctx context.Context) error {
		resp, err := l.controller.ControllerPublishVolume(ctx, &csipb.ControllerPublishVolumeRequest{
			VolumeId: l.id, NodeId: string(node), VolumeCapability: sharedBlock(),
		})
		if err != nil {
			return err
		}
		l.context = resp.GetPublishContext()
		if !slices.Contains(l.granted, node) {
			l.granted = append(l.granted, node)
		}
		return nil
	}, func() error { return errors.Join(l.checkRow(), l.checkContext(node)) }}
}

func (l *life) expand(ctx context.Context) error {
	resp, err := l.controller.ControllerExpandVolume(ctx, &csipb.ControllerExpandVolumeRequest{
		VolumeId: l.id, CapacityRange: &csipb.CapacityRange{RequiredBytes: grownSize}, VolumeCapability: sharedBlock(),
	})
	if err != nil {
		return err
	}
	if n := resp.GetCapacityBytes(); n != grownSize {
		return status.Errorf(codes.DataLoss, "answered %d bytes", n)
	}
	l.size = grownSize
	return nil
}

func (l *life) unpublish(node actors.NodeID) step {
	return step{"unpublish " + string(node), func(ctx context.Context) error {
		_, err := l.controller.ControllerUnpublishVolume(ctx, &csipb.ControllerUnpublishVolumeRequest{VolumeId: l.id, NodeId: string(node)})
		if err == nil {
			l.granted = slices.DeleteFunc(l.granted, func(n actors.NodeID) bool { return n == node })
		}
		return err
	}, l.checkRow}
}

func (l *life) remove(ctx context.Context) error {
	_, err := l.controller.DeleteVolume(ctx, &csipb.DeleteVolumeRequest{VolumeId: l.id})
	if err == nil {
		l.exists, l.gone = false, true
	}
	return err
}

// checkRow expects the row and the file of what was answered.
func (l *life) checkRow() error {
	rows := l.rows(l.id)
	if len(rows) == 0 && l.lost("/disk/add") {
		return nil
	}
	if len(rows) != 1 {
		return fmt.Errorf("the box has %d rows of the volume: %+v", len(rows), rows)
	}
	r := rows[0]
	// The file stays as it was when the box forgets the size of the disk.
	if size, ok := l.file(l.id); !ok || size != l.size || r.Size != l.size && (r.Size != firstSize || !l.lost(resize)) {
		return fmt.Errorf("answered %d bytes, the row has %d and the file %d (%t)", l.size, r.Size, size, ok)
	}
	ledger, ours, err := actors.ParseLedger(r.Comment)
	if err != nil || !ours || ledger.Cluster != matrixCluster || ledger.Fencing != l.fencing {
		return fmt.Errorf("the ledger is %q: %w", r.Comment, err)
	}
	var nodes []actors.NodeID
	for _, g := range ledger.Grants {
		nodes = append(nodes, g.Node)
	}
	if !slices.Equal(nodes, l.granted) {
		return fmt.Errorf("granted by what was answered: %v, by the ledger: %v", l.granted, nodes)
	}
	if ledger.Off || r.Disabled {
		return fmt.Errorf("the row is %+v, with the ledger %+v", r, ledger)
	}
	return l.checkExport(r, ledger)
}

// checkExport expects of the fencing what it promises.
func (l *life) checkExport(r sim.Disk, ledger actors.Ledger) error {
	id := actors.VolumeID(l.id)
	export, epoch, allow := len(l.granted) > 0, true, ""
	switch {
	case l.fencing == actors.FencingNone:
		export, epoch = r.Export || export, false
	case l.fencing == actors.FencingHost && len(l.granted) == 1:
		allow = actors.HostOf(matrixCluster, l.granted[0]).NQN
	}
	switch {
	case r.Export != export:
		return fmt.Errorf("granted to %v and exported: %t", l.granted, r.Export)
	case export && r.NQN != ledger.NQN(id), export && epoch != (ledger.Epoch != 0), r.Port != ledger.Port:
		return fmt.Errorf("the row is served as %s on port %d, the ledger is %+v", r.NQN, r.Port, ledger)
	case export && r.AllowHost != allow:
		return fmt.Errorf("granted to %v, and let in are %q", l.granted, r.AllowHost)
	}
	return nil
}

// checkContext expects what a node was told to be what it will find.
func (l *life) checkContext(node actors.NodeID) error {
	rows := l.rows(l.id)
	if len(rows) != 1 {
		return nil // told already
	}
	host := actors.HostOf(matrixCluster, node)
	want := map[string]string{
		"nvme_address": "127.0.0.1", "nvme_port": strconv.Itoa(int(rows[0].Port)), "nvme_nqn": rows[0].NQN,
		"nvme_host_nqn": host.NQN, "nvme_host_id": host.ID, "size_bytes": strconv.FormatInt(rows[0].Size, 10), "access": "rw",
	}
	if !maps.Equal(l.context, want) {
		return fmt.Errorf("the node was told %v, the box shows %v", l.context, want)
	}
	return nil
}

// checkNothing expects that a creation which failed has left nothing.
func (l *life) checkNothing() error {
	rows := l.rows(l.id)
	if size, ok := l.file(l.id); ok || len(rows) > 0 {
		return fmt.Errorf("the box has no room, and left are %+v and a file (%t) of %d bytes", rows, ok, size)
	}
	return nil
}

// checkGone expects neither row nor file.
func (l *life) checkGone() error {
	rows := l.rows(l.id)
	if size, ok := l.file(l.id); ok || len(rows) > 0 {
		return fmt.Errorf("deleted, and left are %+v and a file (%t) of %d bytes", rows, ok, size)
	}
	return nil
}
