// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// A script is a box of which only the sessions matter: how many may be made, and how they end.
type script struct {
	mu      sync.Mutex
	dialled int // sessions made
	tried   int // attempts
	live    map[*scripted]bool
	refuse  error // of the next attempts to connect
	waits   []bool
	counts  [2]int // open and busy, as told last
}

// A scripted is a session that nobody asks anything of.
type scripted struct {
	box  *script
	n    int // the how manieth it is
	once sync.Once
	done chan struct{}
}

func (s *scripted) Read(context.Context, reading) ([]routeros.Row, error) { return nil, nil }

func (s *scripted) Change(_ context.Context, changes ...change) []answer {
	return make([]answer, len(changes))
}

func (s *scripted) Done() <-chan struct{} { return s.done }

func (s *scripted) Err() error {
	select {
	case <-s.done:
		return errors.New("ended")
	default:
		return nil
	}
}

func (s *scripted) Close() {
	s.once.Do(func() {
		s.box.mu.Lock()
		defer s.box.mu.Unlock()
		delete(s.box.live, s)
		close(s.done)
	})
}

func (b *script) dial(context.Context) (session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tried++
	if b.refuse != nil {
		return nil, b.refuse
	}
	b.dialled++
	s := &scripted{box: b, n: b.dialled, done: make(chan struct{})}
	b.live[s] = true
	return s, nil
}

func (b *script) failing(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuse = err
}

func (b *script) attempted() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tried
}

// told returns what the hooks were told.
func (b *script) told() (waits []bool, counts [2]int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.waits), b.counts
}

func (b *script) count() (dialled, live int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dialled, len(b.live)
}

// inPool runs a test in a bubble, with a pool of that many sessions of one place each.
func inPool(t *testing.T, sessions int, test func(*testing.T, *script, *sessionPool)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		box := &script{live: map[*scripted]bool{}}
		cfg, err := Config{
			Address: "rds:22", Cluster: testCluster, VolumePaths: []string{testPath}, Sessions: sessions,
			Hooks: Hooks{
				Wait: func(_ time.Duration, full bool) {
					box.mu.Lock()
					defer box.mu.Unlock()
					box.waits = append(box.waits, full)
				},
				Sessions: func(_ string, open, busy int) {
					if open < 0 || busy > open {
						t.Errorf("told %d open and %d busy", open, busy)
					}
					box.mu.Lock()
					defer box.mu.Unlock()
					box.counts = [2]int{open, busy}
				},
			},
		}.complete()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		p := newPool(ctx, cfg, box.dial, 1)
		test(t, box, p)
		cancel()
		p.loops.Wait()
		if _, live := box.count(); live != 0 {
			t.Errorf("%d sessions outlive the pool", live)
		}
		if _, counts := box.told(); counts != [2]int{} {
			t.Errorf("told %v open and busy at the end", counts)
		}
	})
}

// hold takes all sessions that a class may have.
func hold(t *testing.T, p *sessionPool, c class, n int) []*member {
	t.Helper()
	held := make([]*member, n)
	for i := range held {
		m, err := p.take(t.Context(), c, 0)
		if err != nil {
			t.Fatal(err)
		}
		held[i] = m
	}
	return held
}

// TestPoolTurns has many wait for few sessions: they are served in the order in which they asked.
func TestPoolTurns(t *testing.T) {
	inPool(t, 4, func(t *testing.T, _ *script, p *sessionPool) {
		held := hold(t, p, ordinary, 3)
		var served []int
		done := make(chan struct{})
		const waiters = 50
		for n := range waiters {
			go func() {
				m, err := p.take(t.Context(), ordinary, 0)
				if err != nil {
					t.Error(err)
					return
				}
				served = append(served, n) // one at a time: there is one session to be had
				p.give(m, true)
				done <- struct{}{}
			}()
			synctest.Wait()
		}
		p.give(held[0], true)
		for range waiters {
			<-done
		}
		if !slices.IsSorted(served) || len(served) != waiters {
			t.Errorf("served in the order %v", served)
		}
	})
}

// TestPoolReserved shows that no number of grants takes the reserved sessions, that revokes and reads
// have these at once, and that of the common ones each class gets its turn.
func TestPoolReserved(t *testing.T) {
	inPool(t, 8, func(t *testing.T, box *script, p *sessionPool) {
		for _, m := range hold(t, p, urgent, 2) {
			p.give(m, true) // so that they are there to be taken
		}
		held := hold(t, p, ordinary, 6)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if m, err := p.take(ctx, ordinary, 0); err == nil || !errors.Is(err, routeros.ErrNotSent) {
			t.Fatalf("a seventh grant has %v, %v", m, err)
		}
		begin := time.Now()
		urgents := hold(t, p, urgent, 2)
		if d := time.Since(begin); d != 0 {
			t.Errorf("the reserved sessions took %v", d)
		}
		synctest.Wait()
		if _, counts := box.told(); counts != [2]int{8, 8} {
			t.Errorf("told %v, want 8 sessions, all busy", counts)
		}
		// Of the two that wait for a common session, the one that came first has it.
		order := make(chan string, 2)
		waitFor := func(c class, name string) {
			go func() {
				m, err := p.take(t.Context(), c, 0)
				if err != nil {
					t.Error(err)
					return
				}
				order <- name
				p.give(m, true)
			}()
			synctest.Wait()
		}
		waitFor(ordinary, "grant")
		waitFor(urgent, "revoke")
		p.give(held[0], true)
		if a, b := <-order, <-order; a != "grant" || b != "revoke" {
			t.Errorf("served %s, then %s", a, b)
		}
		// A reserved session that is free is the revoke's, whoever came first.
		held[0] = hold(t, p, ordinary, 1)[0]
		waitFor(ordinary, "grant")
		waitFor(urgent, "revoke")
		p.give(urgents[0], true)
		if a := <-order; a != "revoke" {
			t.Errorf("the reserved session went to a %s", a)
		}
		for _, m := range append(held, urgents[1]) {
			p.give(m, true)
		}
		if a := <-order; a != "grant" {
			t.Errorf("%s was served twice", a)
		}
	})
}

// TestPoolDeadline shows that a wait ends with its context, says that the pool is full, and leaves
// nothing behind that would be served in its place.
func TestPoolDeadline(t *testing.T) {
	inPool(t, 2, func(t *testing.T, box *script, p *sessionPool) {
		held := hold(t, p, ordinary, 1)
		before, _ := box.told()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begin := time.Now()
		_, err := p.take(ctx, ordinary, 0)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, routeros.ErrNotSent) || time.Since(begin) != 3*time.Second {
			t.Errorf("take = %v after %v", err, time.Since(begin))
		}
		if waits, _ := box.told(); fmt.Sprint(waits[len(before):]) != "[true]" {
			t.Errorf("waits told = %v, want one for a full pool", waits[len(before):])
		}
		p.give(held[0], true)
		if _, err := p.take(ctx, ordinary, 0); !errors.Is(err, routeros.ErrNotSent) {
			t.Errorf("take with a context that has ended = %v", err)
		}
		p.give(hold(t, p, ordinary, 1)[0], true)
		if waits, _ := box.told(); fmt.Sprint(waits[len(before):]) != "[true false]" {
			t.Errorf("waits told = %v, the last for a free session", waits[len(before):])
		}
	})
}

// TestPoolRace lets the context end at the moment at which a session is free: it must not be lost.
func TestPoolRace(t *testing.T) {
	inPool(t, 2, func(t *testing.T, _ *script, p *sessionPool) {
		for range 200 {
			m := hold(t, p, ordinary, 1)[0]
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			waiter := make(chan struct{})
			go func() {
				defer close(waiter)
				if m, err := p.take(ctx, ordinary, 0); err == nil {
					p.give(m, true)
				}
			}()
			time.Sleep(time.Second) // of the bubble's clock
			p.give(m, true)
			<-waiter
			cancel()
		}
		p.give(hold(t, p, ordinary, 1)[0], true)
	})
}

// TestPoolIdle shows that sessions are made as they are needed, and closed when they are not, but for
// one of each lane.
func TestPoolIdle(t *testing.T) {
	inPool(t, 16, func(t *testing.T, box *script, p *sessionPool) {
		if err := p.ready(t.Context(), ordinary); err != nil {
			t.Fatal(err)
		}
		if dialled, _ := box.count(); dialled != 1 {
			t.Errorf("%d sessions were made for one who asked", dialled)
		}
		held := append(hold(t, p, ordinary, 12), hold(t, p, urgent, 4)...)
		if _, live := box.count(); live != 16 {
			t.Errorf("%d sessions for 16 who have one each", live)
		}
		for _, m := range held[1:] {
			p.give(m, true)
		}
		time.Sleep(p.cfg.IdleTimeout / 2)
		p.give(hold(t, p, urgent, 1)[0], true)
		time.Sleep(p.cfg.IdleTimeout/2 + time.Second)
		if _, live := box.count(); live != 2 {
			t.Errorf("%d sessions are left, want the one in use and the one used lately", live)
		}
		time.Sleep(10 * p.cfg.IdleTimeout)
		dialled, live := box.count()
		if live != 2 || dialled != 16 {
			t.Errorf("%d sessions are left and %d were made, want 2 and 16", live, dialled)
		}
		p.give(held[0], true)
	})
}

// TestPoolPrefers shows that of the free sessions the one with the latest good answer is taken, and
// before it one that is older than a listing.
func TestPoolPrefers(t *testing.T) {
	inPool(t, 4, func(t *testing.T, _ *script, p *sessionPool) {
		old := hold(t, p, ordinary, 1)[0]
		listing := p.tick()
		young := hold(t, p, ordinary, 2)
		for i, m := range []*member{old, young[0], young[1]} {
			time.Sleep(time.Second)
			p.give(m, i != 1)
		}
		if m := hold(t, p, ordinary, 1)[0]; m != young[1] {
			t.Error("the session that was good last is not preferred")
		} else {
			p.give(m, false)
		}
		m, err := p.take(t.Context(), ordinary, listing)
		if err != nil || m != old {
			t.Errorf("take = %v, %v, want the session that is older than the listing", m, err)
		}
		p.give(m, true)
	})
}

// TestPoolLost shows that a lost session is replaced for those who wait, and that a box which takes no
// more sessions is a full pool, not an absent one.
func TestPoolLost(t *testing.T) {
	inPool(t, 4, func(t *testing.T, box *script, p *sessionPool) {
		held := hold(t, p, ordinary, 3)
		waiter := make(chan error, 1)
		wait := func() {
			go func() {
				m, err := p.take(t.Context(), ordinary, 0)
				if err == nil {
					p.give(m, true)
				}
				waiter <- err
			}()
			synctest.Wait()
		}
		wait()
		held[1].Close()
		if err := <-waiter; err != nil {
			t.Error(err)
		}
		p.give(held[1], false)
		if dialled, live := box.count(); dialled != 4 || live != 3 {
			t.Errorf("%d sessions made and %d live, want 4 and 3", dialled, live)
		}
		held[1] = hold(t, p, ordinary, 1)[0]
		box.failing(errors.New("no room"))
		held[2].Close()
		p.give(held[2], false)
		wait()
		time.Sleep(time.Minute)
		select {
		case err := <-waiter:
			t.Fatalf("take = %v while there are two sessions to wait for", err)
		default:
		}
		wait()
		p.give(held[0], true)
		for range 2 {
			if err := <-waiter; err != nil {
				t.Error(err)
			}
		}
		if waits, _ := box.told(); !waits[len(waits)-1] {
			t.Error("a box that takes no more sessions is not told as a full pool")
		}
		// Without any session, nobody waits.
		held[0] = hold(t, p, ordinary, 1)[0]
		for _, m := range held[:2] {
			m.Close()
			p.give(m, false)
		}
		wait()
		if err := <-waiter; !errors.Is(err, routeros.ErrNotSent) {
			t.Errorf("take of a box that is away = %v", err)
		}
		box.failing(nil)
		time.Sleep(p.cfg.MaxBackoff)
		wait()
		if err := <-waiter; err != nil {
			t.Errorf("take of a box that is back = %v", err)
		}
	})
}

// TestPoolReconnects counts the attempts to reach a box that is away: they become few, whoever asks.
func TestPoolReconnects(t *testing.T) {
	inPool(t, 16, func(t *testing.T, box *script, p *sessionPool) {
		box.failing(errors.New("no route to host"))
		for range 600 {
			if _, err := p.take(t.Context(), ordinary, 0); !errors.Is(err, routeros.ErrNotSent) {
				t.Fatalf("take = %v", err)
			}
			time.Sleep(time.Second)
		}
		if attempts := box.attempted(); attempts < 600/15 || attempts > 100 {
			t.Errorf("%d attempts in 10 minutes", attempts)
		}
	})
}
