// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"fmt"
	"time"

	"github.com/rds-csi/rds-csi/e2e/await"
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
	w := &Writer{where: n, volume: v, ring: v.stage.ringOf(n)}
	return w, n.Call(ctx, api.BeginWrites, api.Writes{Name: w.name(), Path: v.Data(), Ring: w.ring, Pause: writePause}, nil)
}

func (w *Writer) name() string { return string(w.volume.ID) }

// Written tells what was written so far.
func (w *Writer) Written(ctx context.Context) (told api.Written, err error) {
	return told, w.where.Call(ctx, api.AskWrites, api.Name{Name: w.name()}, &told)
}

// Await waits until so many more writes were acknowledged.
func (w *Writer) Await(ctx context.Context, more uint64) error {
	first, known := uint64(0), false
	return await.Nil(ctx, func(ctx context.Context) error {
		told, err := w.Written(ctx)
		switch {
		case err != nil:
			return err
		case !known:
			first, known = told.Acked, true
		}
		if told.Acked < first+more {
			return fmt.Errorf("%s has written %d blocks to %s since, errors: %v", w.where.Name(), told.Acked-first, w.volume.ID, told.Errors)
		}
		return nil
	})
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
