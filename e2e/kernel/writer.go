// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/e2e/stamp"
)

// A Writer is a VM or a pod that writes to its ring on a volume. Each node has a ring of its own.
type Writer struct {
	where  runner
	volume *Volume
	ring   stamp.Ring
}

// A runner is where a writer runs: a node, or a VM.
type runner interface {
	Name() string
	Call(ctx context.Context, op string, args, result any) error
}

// The rings: 64 writes of 16 KiB each.
const (
	slots = 64
	parts = 4
)

// ringOf is the ring that a node has on each volume: that of the place that the node has among the nodes.
func (st *Stage) ringOf(n *guest.Node) stamp.Ring {
	r := stamp.Ring{Writer: n.Name(), Slots: slots, Parts: parts}
	for i, name := range st.cfg.Nodes {
		if name == n.Name() {
			r.Base = int64(i * r.Length())
		}
	}
	return r
}

// writePause is the time between two writes of a VM that is not busy.
const writePause = 5 * time.Millisecond

// Write lets a node write to a volume that it has, until it is ended.
func (v *Volume) Write(ctx context.Context, n *guest.Node) (*Writer, error) {
	return v.Load(ctx, n, Load{Ring: v.stage.ringOf(n), Pause: writePause})
}

// A Load is how a writer writes.
type Load struct {
	Ring  stamp.Ring
	Way   api.Way
	Pause time.Duration // between two writes
	Count uint64        // how many writes; 0: until the writer is ended
	Hold  uint64        // after how many writes it waits for Free; 0: it does not
}

// Load lets a node write to a volume that it has, to a ring to which it does not write already.
func (v *Volume) Load(ctx context.Context, n *guest.Node, l Load) (*Writer, error) {
	w := &Writer{where: n, volume: v, ring: l.Ring}
	return w, n.Call(ctx, api.BeginWrites, api.Writes{Name: w.name(), Path: v.Data(), Ring: l.Ring, Way: l.Way, Pause: l.Pause, Count: l.Count, Hold: l.Hold}, nil)
}

// Free lets all writers of a node go on that wait for it.
func Free(ctx context.Context, n *guest.Node) error {
	return n.Call(ctx, api.FreeWrites, struct{}{}, nil)
}

// Fill lets a node write a whole ring once, and returns what it then is.
func (v *Volume) Fill(ctx context.Context, n *guest.Node, r stamp.Ring) (*Writer, api.Written, error) {
	all := uint64(r.Slots) //nolint:gosec // a ring has at least one slot
	f, err := v.Load(ctx, n, Load{Ring: r, Count: all})
	if err != nil {
		return nil, api.Written{}, err
	}
	if err := f.Reach(ctx, all); err != nil {
		return nil, api.Written{}, err
	}
	told, err := f.End(ctx)
	return f, told, err
}

func (w *Writer) name() string { return fmt.Sprintf("%s at %d", w.volume.ID, w.ring.Base) }

// Written tells what was written so far.
func (w *Writer) Written(ctx context.Context) (told api.Written, err error) {
	return told, w.where.Call(ctx, api.AskWrites, api.Name{Name: w.name()}, &told)
}

// limit bounds the wait for a writer. It is no promise about speed: what takes longer hangs.
const limit = 2 * time.Minute

// Await waits until so many more writes were acknowledged.
func (w *Writer) Await(ctx context.Context, more uint64) error {
	told, err := w.Written(ctx)
	if err != nil {
		return err
	}
	return w.Reach(ctx, told.Acked+more)
}

// Reach waits until so many writes were acknowledged in all.
func (w *Writer) Reach(ctx context.Context, acked uint64) error {
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := w.where.Call(waiting, api.AwaitWrites, api.Wait{Name: w.name(), Acked: acked}, nil); err != nil {
		told, asked := w.Written(ctx)
		return errors.Join(fmt.Errorf("%s has written %d of %d blocks to %s, errors %v: %w", w.where.Name(), told.Acked, acked, w.volume.ID, told.Errors, err), asked)
	}
	return nil
}

// End ends the writer, when the write under way has ended.
func (w *Writer) End(ctx context.Context) (told api.Written, err error) {
	return told, w.where.Call(ctx, api.EndWrites, api.Name{Name: w.name()}, &told)
}

// Verify reads on a node, past its caches, what a writer has written, and fails for what is lost or torn.
func (w *Writer) Verify(ctx context.Context, n *guest.Node, told api.Written) error {
	return w.verify(ctx, n, api.Verification{Begun: told.Begun, Acked: told.Acked})
}

// VerifyLost is Verify for a writer whose node was lost after it had told this: it may have written more.
func (w *Writer) VerifyLost(ctx context.Context, n *guest.Node, told api.Written) error {
	return w.verify(ctx, n, api.Verification{Acked: told.Acked, Lost: true})
}

func (w *Writer) verify(ctx context.Context, n *guest.Node, v api.Verification) error {
	v.Path, v.Ring = w.volume.Data(), w.ring
	if err := n.Call(ctx, api.Verify, v, nil); err != nil {
		return fmt.Errorf("what %s wrote to %s, as %s reads it: %w", w.where.Name(), w.volume.ID, n.Name(), err)
	}
	return nil
}
