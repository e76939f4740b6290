// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"sync"

	storagev1 "k8s.io/api/storage/v1"
)

// A listing shares live LISTs of all VolumeAttachments, which are large where there are many: each
// reader gets one that began after it asked, and one runs at a time. So the adoption of a thousand
// volumes, when this driver takes the older one's place, costs a few of them.
type listing struct {
	read func(context.Context) ([]storagev1.VolumeAttachment, error)
	turn chan struct{} // holds one: the right to read

	mu   sync.Mutex
	next *flight // of the readers that wait for the turn; nil: nobody does
}

// A flight is one LIST, made by the first of its readers.
type flight struct {
	done  chan struct{} // closed when the others are set
	items []storagev1.VolumeAttachment
	err   error
	left  bool // its reader's context ended, which says nothing about others
}

// get returns the answer of a LIST that began after the call. Readers must not change it.
func (l *listing) get(ctx context.Context) ([]storagev1.VolumeAttachment, error) {
	for {
		f, lead := l.board()
		if lead {
			l.fly(ctx, f)
			return f.items, f.err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-f.done:
		}
		if !f.left {
			return f.items, f.err
		}
	}
}

// board joins the flight that has not begun, or opens one, which the caller then leads.
func (l *listing) board() (_ *flight, lead bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next != nil {
		return l.next, false
	}
	l.next = &flight{done: make(chan struct{})}
	return l.next, true
}

// fly waits for the turn and reads.
func (l *listing) fly(ctx context.Context, f *flight) {
	defer close(f.done)
	select {
	case <-ctx.Done():
		l.close()
		f.err, f.left = ctx.Err(), true
		return
	case l.turn <- struct{}{}:
	}
	defer func() { <-l.turn }()
	l.close() // who asks from now on asked too late for this one
	f.items, f.err = l.read(ctx)
	f.left = ctx.Err() != nil
}

func (l *listing) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = nil
}
