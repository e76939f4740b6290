// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/rds-csi/rds-csi/actors"
)

const (
	testCluster = "0123456789ab"
	testBox     = "10.0.0.1"
)

// A fakeBox is a box in memory. What was asked of it is in calls.
type fakeBox struct {
	mu    sync.Mutex
	rows  map[actors.VolumeID]actors.Volume
	total int64
	fail  map[string]error // by call: create, expand, delete, capacity
	calls []string
}

func newFakeBox() *fakeBox {
	return &fakeBox{rows: map[actors.VolumeID]actors.Volume{}, total: 1 << 44, fail: map[string]error{}}
}

// call records one call; b.mu is held.
func (b *fakeBox) call(name string) error {
	b.calls = append(b.calls, name)
	return b.fail[name]
}

func (b *fakeBox) Create(_ context.Context, s actors.Spec) (actors.Volume, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.call("create"); err != nil {
		return actors.Volume{}, err
	}
	if v, ok := b.rows[s.ID]; ok {
		return v, nil
	}
	if s.Size > b.free() {
		return actors.Volume{}, fmt.Errorf("add disk %s: %w", s.ID, actors.ErrFull)
	}
	v := actors.Volume{ID: s.ID, Exists: true, Size: s.Size, NQN: s.NQN, Port: s.Ports.First, Ledger: s.Ledger, Ours: true}
	for _, other := range b.rows {
		if other.Port >= v.Port {
			v.Port = min(other.Port+1, s.Ports.Last)
		}
	}
	b.rows[s.ID] = v
	return v, nil
}

func (b *fakeBox) Expand(_ context.Context, id actors.VolumeID, size int64) (actors.Volume, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.call("expand"); err != nil {
		return actors.Volume{}, err
	}
	v := b.rows[id]
	v.Size = size
	b.rows[id] = v
	return v, nil
}

func (b *fakeBox) Delete(_ context.Context, id actors.VolumeID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.call("delete"); err != nil {
		return err
	}
	delete(b.rows, id)
	return nil
}

func (b *fakeBox) Capacity(context.Context, string) (actors.Capacity, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.call("capacity"); err != nil {
		return actors.Capacity{}, err
	}
	return actors.Capacity{Total: b.total, Free: b.free()}, nil
}

func (b *fakeBox) free() int64 {
	free := b.total
	for _, v := range b.rows {
		free -= v.Size
	}
	return free
}

// put places a row on the box.
func (b *fakeBox) put(v actors.Volume) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rows[v.ID] = v
}

func (b *fakeBox) row(id string) actors.Volume {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rows[actors.VolumeID(id)]
}

// writes returns the calls that change something, in order.
func (b *fakeBox) writes() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.calls), func(c string) bool {
		return c == "capacity" || c == "get" || c == "list"
	})
}

func (b *fakeBox) failWith(call string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail[call] = err
}

// fakeVolumes is a supervisor without actors: it keeps the rules of a ledger on the rows of its box.
// It records into the box's calls: publish, unpublish, get, list and the kinds of operation.
type fakeVolumes struct {
	*fakeBox
	nodes []actors.NodeID
	keys  []string // of the operations, in order
}

func (f *fakeVolumes) Publish(_ context.Context, id actors.VolumeID, node actors.NodeID, access actors.Access, _ actors.Policy) (actors.Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.call("publish"); err != nil {
		return actors.Volume{}, err
	}
	v, ok := f.rows[id]
	if !ok {
		return v, fmt.Errorf("volume %s: %w", id, actors.ErrNotFound)
	}
	if !slices.Contains(f.nodes, node) {
		return v, fmt.Errorf("node %s: %w", node, actors.ErrNotFound)
	}
	l := v.Ledger
	switch most := map[actors.Access]int{actors.AccessSingle: 1, actors.AccessShared: 2, actors.AccessReader: 1 << 20}[access]; {
	case l.Granted(node) && l.Access == access:
		return v, nil
	case l.Granted(node):
		return v, fmt.Errorf("volume %s is %v on node %s: %w", id, l.Access, node, actors.ErrExists)
	case len(l.Grants) > 0 && (l.Access != access || len(l.Grants) >= most):
		return v, fmt.Errorf("volume %s is held by node %s: %w", id, l.Grants[0].Node, actors.ErrPrecondition)
	}
	l.Gen++
	l.Epoch, l.Access = actors.Token(36*36*36), access
	l.Grants = append(slices.Clone(l.Grants), actors.Grant{Node: node, At: actors.Token(l.Gen)})
	prefix, _ := actors.NQNPrefix(v.NQN, id)
	v.Ledger, v.Export, v.NQN = l, true, actors.NQN(prefix, id, l.Epoch)
	f.rows[id] = v
	return v, nil
}

func (f *fakeVolumes) Unpublish(_ context.Context, id actors.VolumeID, node actors.NodeID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.call("unpublish"); err != nil {
		return err
	}
	v, ok := f.rows[id]
	if !ok {
		return fmt.Errorf("volume %s: %w", id, actors.ErrNotFound)
	}
	v.Ledger.Grants = slices.DeleteFunc(slices.Clone(v.Ledger.Grants), func(g actors.Grant) bool { return node == "" || g.Node == node })
	if len(v.Ledger.Grants) == 0 {
		v.Ledger.Access, v.Export = actors.AccessNone, false
	}
	f.rows[id] = v
	return nil
}

func (f *fakeVolumes) Exclusive(ctx context.Context, id actors.VolumeID, op actors.Operation) (actors.Volume, error) {
	f.mu.Lock()
	err := f.fail["exclusive"]
	attached := len(f.rows[id].Ledger.Grants) > 0
	f.keys = append(f.keys, string(op.Kind)+" "+op.Key)
	f.mu.Unlock()
	if err != nil {
		return actors.Volume{}, err
	}
	if op.Kind == actors.OpDelete && attached {
		return actors.Volume{}, fmt.Errorf("volume %s is attached: %w", id, actors.ErrPrecondition)
	}
	return op.Run(ctx)
}

func (f *fakeVolumes) Get(_ context.Context, id actors.VolumeID) (actors.Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.call("get"); err != nil {
		return actors.Volume{}, err
	}
	if v, ok := f.rows[id]; ok {
		return v, nil
	}
	return actors.Volume{ID: id}, nil
}

func (f *fakeVolumes) List(context.Context) ([]actors.Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.call("list"); err != nil {
		return nil, err
	}
	var all []actors.Volume
	for _, v := range f.rows {
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b actors.Volume) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return all, nil
}
