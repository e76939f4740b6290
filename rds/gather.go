// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rds-csi/rds-csi/rds/console"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

// A gathering sends changes of a class together: whoever gets a session takes along, in one script, what
// others wait to send. Each change is guarded and gets its own answer, and one that fails stops no other.
// While there are free sessions, each goes by itself.
type gathering struct {
	b *Box

	mu      sync.Mutex
	waiting []*errand // in order
}

// An errand is a change that waits for a session.
type errand struct {
	cmd      command
	change   change
	deadline time.Time
	stop     context.CancelFunc // ends the wait for a session: another has taken it along
	carriedc chan *member       // room for one: it is being sent
	answerc  chan answer        // room for one

	taken bool // owned by gathering.mu: whoever has set it answers
}

// change carries out a change within ctx, which has a deadline. sent is called when it has a session.
func (g *gathering) change(ctx context.Context, cmd command, c change, sent func(*member)) answer {
	wait, stop := context.WithCancel(ctx)
	defer stop()
	e := &errand{cmd: cmd, change: c, stop: stop, carriedc: make(chan *member, 1), answerc: make(chan answer, 1)}
	e.deadline, _ = ctx.Deadline()
	g.mu.Lock()
	g.waiting = append(g.waiting, e)
	g.mu.Unlock()

	m, err := g.b.place(wait, cmd)
	if !g.take(e) {
		if err == nil {
			g.b.sessions.give(m, false)
		}
		sent(<-e.carriedc)
		select {
		case a := <-e.answerc:
			return a
		case <-ctx.Done():
			return all(1, fmt.Errorf("%w: %w", routeros.ErrUnanswered, context.Cause(ctx)))[0]
		}
	}
	if err != nil {
		return all(1, err)[0]
	}
	sent(m)
	return g.send(ctx, m, append([]*errand{e}, g.others(e, m)...))
}

// take takes an errand out of those that wait, and reports false if somebody else has.
func (g *gathering) take(e *errand) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e.taken {
		return false
	}
	e.taken = true
	g.waiting = slices.DeleteFunc(g.waiting, func(o *errand) bool { return o == e })
	return true
}

// others takes the errands that a session can carry beside one. A script ends with the earliest deadline
// of those who wait for it, so that none of it is sent later than its caller knows: whoever has little
// time left goes alone.
func (g *gathering) others(first *errand, m *member) []*errand {
	enough := time.Now().Add(g.b.cfg.CommandTimeout / 2)
	if first.deadline.Before(enough) {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var batch, left []*errand
	for _, e := range g.waiting {
		young := e.cmd.seen != nil && m.born >= e.cmd.seen.began
		if young || len(batch) == console.MaxBatch-1 || e.deadline.Before(enough) {
			left = append(left, e)
			continue
		}
		e.taken = true
		e.carriedc <- m
		e.stop()
		batch = append(batch, e)
	}
	g.waiting = left
	return batch
}

// send sends errands together, gives back the session, and returns the answer to the first.
func (g *gathering) send(ctx context.Context, m *member, batch []*errand) answer {
	deadline := batch[0].deadline
	changes := make([]change, len(batch))
	for i, e := range batch {
		changes[i] = e.change
		if e.deadline.Before(deadline) {
			deadline = e.deadline
		}
	}
	// The others do not end with the caller of the first.
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancel()
	answers := m.Change(ctx, changes...)
	answered := false
	for i, a := range answers {
		f := fateOf(a.err)
		answered = answered || f == acknowledged || f == refused
		if lacksRights(a.err) {
			g.b.sessions.renew(m)
		}
		batch[i].answerc <- a
	}
	g.b.sessions.give(m, answered)
	return answers[0]
}
