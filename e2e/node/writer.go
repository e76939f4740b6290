// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"hash/fnv"
	"sync/atomic"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/e2e/stamp"
)

// A Writer is a VM that writes block after block to its disk. A write that fails is tried again, for as
// long as the VM lives.
type Writer struct {
	acked  atomic.Uint64
	cancel context.CancelFunc
	done   chan struct{} // closed when it writes no more
}

const (
	writePause = 5 * time.Millisecond // between two writes: a VM that is not busy
	writeSlots = 64                   // of the ring
)

// Write lets a VM write to a volume that is staged on this node.
func (p *Plugin) Write(id actors.VolumeID) *Writer {
	ctx, cancel := context.WithCancel(context.Background())
	w := &Writer{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.run(ctx, p, id)
	}()
	return w
}

func (w *Writer) run(ctx context.Context, p *Plugin, id actors.VolumeID) {
	tick := time.NewTicker(writePause)
	defer tick.Stop()
	h := fnv.New64a()
	_, _ = h.Write([]byte(p.cfg.Name)) // a hash takes everything
	ring := stamp.Ring{Writer: p.cfg.Name, Slots: writeSlots, Parts: 1}
	ring.Base = int64(h.Sum64()%16) * int64(ring.Length())
	block := make([]byte, ring.Write())
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		n := w.acked.Load() + 1
		ring.Fill(block, n)
		if disk := p.devices.volume(id); disk != nil {
			if _, err := disk.WriteAtContext(ctx, block, ring.Offset(n)); err == nil {
				w.acked.Add(1)
			}
		}
	}
}

// Acked is how many writes the box has acknowledged.
func (w *Writer) Acked() uint64 { return w.acked.Load() }

// Stop ends the VM.
func (w *Writer) Stop() {
	w.cancel()
	<-w.done
}
