// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"
	"time"
)

// A pace lets as many lives be led at the same time as the machine bears. Lives mostly wait, and cost
// little; but where deadlines pass for want of a processor, requests are repeated, which costs more still.
type pace struct {
	most int
	done chan struct{} // closed when the measuring has ended

	mu      sync.Mutex
	allowed int           // lives
	leading int           // lives
	late    time.Duration // how late a goroutine comes to run, smoothed
	changed chan struct{} // closed when there may be room
}

const (
	// least is how many lives are led however busy the machine is.
	least = 2
	// pulse is how often it is measured whether the machine bears more.
	pulse = 10 * time.Millisecond
	// bearable is how late a goroutine may come to run.
	bearable = matrixTimeout / 80
)

// newPace returns a pace that measures until ctx ends.
func newPace(ctx context.Context, most int) *pace {
	p := &pace{most: most, allowed: least, done: make(chan struct{}), changed: make(chan struct{})}
	go func() {
		defer close(p.done)
		for begin := time.Now(); pause(ctx, pulse) == nil; begin = time.Now() {
			p.measure(time.Since(begin) - pulse)
		}
	}()
	return p
}

// measure takes how late the pulse was.
func (p *pace) measure(late time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late += (late - p.late) / 8
	switch {
	case p.late > 2*bearable:
		p.allowed = max(least, p.allowed-1)
	case p.late < bearable && p.leading >= p.allowed:
		p.allowed = min(p.most, p.allowed+1)
	}
	if p.leading < p.allowed {
		close(p.changed)
		p.changed = make(chan struct{})
	}
}

// begin waits until one more life may begin, which must end.
func (p *pace) begin(ctx context.Context) error {
	for {
		p.mu.Lock()
		changed := p.changed
		room := p.leading < p.allowed
		if room {
			p.leading++
		}
		p.mu.Unlock()
		if room {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *pace) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leading--
}
