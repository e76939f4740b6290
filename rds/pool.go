// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// A class says who may have which sessions.
type class int

const (
	ordinary class = iota // grants, creates and whatever else may wait: the common sessions
	urgent                // revokes and reads: the reserved sessions, and the common ones in their turn
)

// A sessionPool is the sessions with the box, in two lanes: those that are reserved for the urgent, and
// the common ones. Whoever wants to send takes a place on a session and gives it back. Places are given
// in the order in which they were asked for.
type sessionPool struct {
	cfg   Config
	dial  func(context.Context) (session, error)
	width int // commands at a time on one session
	lanes [2]*lane

	ctx   context.Context // ends when the pool is closed
	loops sync.WaitGroup

	mu      sync.Mutex
	clock   uint64        // counts sessions made and listings begun, to tell which came first
	turn    uint64        // of the last waiter
	waiting [2][]*waiter  // by class, in order
	changed chan struct{} // closed when a lane has another session or error than before
	told    [2]int        // open and busy, as the hook was told last

	linking sync.Mutex // orders what Hooks.Connection is told
	linked  int        // open sessions
}

// A waiter waits for a place.
type waiter struct {
	turn   uint64
	before uint64     // of the pool's clock: a session that is older is preferred
	placec chan place // room for one
}

// A place is what a waiter gets: a session, or why there is none.
type place struct {
	m   *member
	err error
}

func newPool(ctx context.Context, cfg Config, dial func(context.Context) (session, error), width int) *sessionPool {
	p := &sessionPool{cfg: cfg, dial: dial, width: width, ctx: ctx, changed: make(chan struct{})}
	kept := max(1, cfg.Sessions/4)
	p.lanes[urgent] = newLane("reserved", p, kept)
	p.lanes[ordinary] = newLane("common", p, cfg.Sessions-kept)
	for _, l := range p.lanes {
		p.loops.Go(func() { l.run(ctx) })
	}
	return p
}

// take returns a session with a place on it, which must be given back. It waits its turn within ctx, but
// not for a box that is known to be away. Of the free sessions, one that is older than a time of the
// clock is preferred. The error wraps routeros.ErrNotSent.
func (p *sessionPool) take(ctx context.Context, c class, before uint64) (*member, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", routeros.ErrNotSent, err)
	}
	begin := time.Now()
	w := &waiter{before: before, placec: make(chan place, 1)}
	full := p.ask(w, c)
	defer func() { p.cfg.Hooks.Wait(time.Since(begin), full) }()
	var err error
	select {
	case got := <-w.placec:
		return got.m, got.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-p.ctx.Done():
		err = errClosed
	}
	p.forget(w, c)
	if full {
		err = fmt.Errorf("all sessions with the box are busy, see --rds-sessions: %w", err)
	}
	return nil, fmt.Errorf("wait for a session with the box: %w: %w", routeros.ErrNotSent, err)
}

// ask puts a waiter in its queue, and reports whether it must wait because the pool is full.
func (p *sessionPool) ask(w *waiter, c class) (full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn++
	w.turn = p.turn
	p.lanes[c].used = true
	p.waiting[c] = append(p.waiting[c], w)
	p.dispatch()
	if len(w.placec) > 0 {
		return false
	}
	return p.lanes[ordinary].spent() && (c == ordinary || p.lanes[urgent].spent())
}

// forget takes a waiter that has given up out of its queue, and hands on the place that it was given at
// the last moment.
func (p *sessionPool) forget(w *waiter, c class) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting[c], w); i >= 0 {
		p.waiting[c] = slices.Delete(p.waiting[c], i, i+1)
		return
	}
	if got := <-w.placec; got.m != nil {
		p.release(got.m)
		p.dispatch()
	}
}

// give returns a place. answered says whether the box answered the command.
func (p *sessionPool) give(m *member, answered bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release(m)
	m.used = time.Now()
	if answered {
		m.good = m.used
	}
	p.dispatch()
}

// ready waits until there is a session for a class, within ctx. The error is the box's, if it is known
// to be away.
func (p *sessionPool) ready(ctx context.Context, c class) error {
	for {
		p.mu.Lock()
		p.lanes[c].used = true
		p.wake()
		open, err, changed := p.open(c), p.away(c), p.changed
		p.mu.Unlock()
		switch {
		case open:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for a session with the box: %w", context.Cause(ctx))
		case <-p.ctx.Done():
			return errClosed
		}
	}
}

// tick returns a time of the clock: of whatever has one, what came later has the larger.
func (p *sessionPool) tick() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock++
	return p.clock
}

// dispatch gives out free places, sends away those who wait in vain, and has sessions made for the
// others. p.mu must be held.
func (p *sessionPool) dispatch() {
	for p.next() {
	}
	for c := range p.waiting {
		if err := p.away(class(c)); err != nil {
			for _, w := range p.waiting[c] {
				w.placec <- place{err: fmt.Errorf("%w: %w", routeros.ErrNotSent, err)}
			}
			p.waiting[c] = nil
		}
	}
	p.wake()
	p.tell()
}

// next gives out one place, if there is one that somebody may have. p.mu must be held.
func (p *sessionPool) next() bool {
	if len(p.waiting[urgent]) > 0 && p.serve(urgent, p.lanes[urgent]) {
		return true
	}
	// The common sessions go by turn alone, so that neither class can starve the other.
	u, o := p.waiting[urgent], p.waiting[ordinary]
	if !p.overflows() {
		u = nil
	}
	switch {
	case len(u) > 0 && (len(o) == 0 || u[0].turn < o[0].turn):
		return p.serve(urgent, p.lanes[ordinary])
	case len(o) > 0:
		return p.serve(ordinary, p.lanes[ordinary])
	}
	return false
}

// overflows reports whether the urgent, too, may have common sessions: not while a reserved one is being
// made, since a command before them on a common one may be stuck. p.mu must be held.
func (p *sessionPool) overflows() bool {
	l := p.lanes[urgent]
	return l.full() || l.err != nil
}

// serve gives the first waiter of a class a place of a lane, if it has one. p.mu must be held.
func (p *sessionPool) serve(c class, l *lane) bool {
	w := p.waiting[c][0]
	m := l.free(w.before)
	if m == nil {
		return false
	}
	m.busy++
	p.waiting[c] = p.waiting[c][1:]
	w.placec <- place{m: m}
	return true
}

// away returns why a class cannot have a session for now, or nil where there is one or may be one soon.
// p.mu must be held.
func (p *sessionPool) away(c class) error {
	if p.open(c) {
		return nil
	}
	return p.lanes[c].err
}

// open reports whether there is a session that a class may have. p.mu must be held.
func (p *sessionPool) open(c class) bool {
	return p.lanes[c].living() > 0 || c == urgent && p.lanes[ordinary].living() > 0
}

// wake starts the lanes that want a session. p.mu must be held.
func (p *sessionPool) wake() {
	for _, l := range p.lanes {
		if l.wants() {
			select {
			case l.wakec <- struct{}{}:
			default:
			}
		}
	}
}

// tell tells the hook how many sessions there are. p.mu must be held, so that it is told in order.
func (p *sessionPool) tell() {
	var now [2]int
	for _, l := range p.lanes {
		now[0] += len(l.members)
		for _, m := range l.members {
			if m.busy > 0 {
				now[1]++
			}
		}
	}
	if now != p.told {
		p.told = now
		p.cfg.Hooks.Sessions(p.cfg.Address, now[0], now[1])
	}
}

// link counts open sessions for Hooks.Connection.
func (p *sessionPool) link(n int) {
	p.linking.Lock()
	defer p.linking.Unlock()
	was := p.linked > 0
	p.linked += n
	if is := p.linked > 0; is != was {
		p.cfg.Hooks.Connection(p.cfg.Address, is)
	}
}

// errClosed: the box was closed by its owner.
var errClosed = errors.New("the box is closed")
