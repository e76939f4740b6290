// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// A fakeBox is a box in memory whose commands take time and can be made to fail.
type fakeBox struct {
	mu     sync.Mutex
	rows   map[VolumeID]Volume
	delay  time.Duration
	fault  func(Write) (land bool, err error) // nil: land and acknowledge
	away   error
	reads  int
	writes []Write
}

func newFakeBox(vols ...Volume) *fakeBox {
	b := &fakeBox{rows: map[VolumeID]Volume{}, delay: 50 * time.Millisecond}
	for _, v := range vols {
		b.rows[v.ID] = v
	}
	return b
}

// work lets the time of one command pass.
func (b *fakeBox) work(ctx context.Context) error {
	b.mu.Lock()
	delay := b.delay
	b.mu.Unlock()
	select {
	case <-time.After(delay):
		return nil
	case <-ctx.Done():
		return ErrUnresolved
	}
}

func (b *fakeBox) List(ctx context.Context) ([]Volume, error) {
	if err := b.work(ctx); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads++
	if b.away != nil {
		return nil, b.away
	}
	return slices.Collect(maps.Values(b.rows)), nil
}

func (b *fakeBox) Read(ctx context.Context, id VolumeID) (Volume, error) {
	if err := b.work(ctx); err != nil {
		return Volume{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads++
	if b.away != nil {
		return Volume{}, b.away
	}
	v := b.rows[id]
	v.ID = id
	return v, nil
}

func (b *fakeBox) Write(ctx context.Context, w Write) error {
	if err := b.work(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away != nil {
		return b.away
	}
	land, err := true, error(nil)
	if b.fault != nil {
		land, err = b.fault(w)
	}
	b.writes = append(b.writes, w)
	v := b.rows[w.Volume]
	for _, row := range w.Rows {
		if land && v.Exists {
			v.Export, v.NQN, v.AllowHost, v.Ledger = row.Export, row.NQN, row.AllowHost, row.Ledger
		}
	}
	b.rows[w.Volume] = v
	return err
}

func (b *fakeBox) set(change func(*fakeBox)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(b)
}

func (b *fakeBox) row(id VolumeID) Volume {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rows[id]
}

func (b *fakeBox) counts() (reads, writes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reads, len(b.writes)
}

// fakeNodes knows every node; the lost ones have a reason.
type fakeNodes struct {
	refuse error
	lost   map[NodeID]string
}

func (n *fakeNodes) Check(context.Context, VolumeID, NodeID) (string, error) { return "", n.refuse }
func (n *fakeNodes) Lost(_ context.Context, _ VolumeID, id NodeID) string    { return n.lost[id] }

// told collects announcements.
type told struct {
	mu  sync.Mutex
	all []AnnouncementKind
	on  func(Announcement) // nil: nothing
}

func (t *told) Announce(a Announcement) {
	if t.on != nil {
		t.on(a)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, a.Kind)
}

func (t *told) kinds() []AnnouncementKind {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.all)
}
