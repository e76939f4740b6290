// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/routeros"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// A slowBox answers each batch of changes when it is told to, and remembers them.
type slowBox struct {
	script
	batches [][]change
	goOn    chan struct{} // one element for each batch
}

// A slowSession is a session with a slowBox. It ends with a batch that is given up, as SSH does.
type slowSession struct {
	*scripted
	box *slowBox
}

// Change answers each change with its size. One of size 0 is refused.
func (s slowSession) Change(ctx context.Context, changes ...change) []answer {
	s.box.mu.Lock()
	s.box.batches = append(s.box.batches, changes)
	s.box.mu.Unlock()
	select {
	case <-s.box.goOn:
	case <-ctx.Done():
		s.Close()
		return all(len(changes), fmt.Errorf("%w: %w", routeros.ErrUnanswered, context.Cause(ctx)))
	}
	answers := make([]answer, len(changes))
	for i, c := range changes {
		if size := sizeOf(c); size > 0 {
			answers[i].made = fmt.Sprint(size)
		} else {
			answers[i].err = &routeros.Trap{Message: "no"}
		}
	}
	return answers
}

func sizeOf(c change) int64 {
	s, ok := c.(setSize)
	if !ok {
		return 0
	}
	return s.size
}

// lengths returns how many changes were sent together.
func (b *slowBox) lengths() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var n []int
	for _, batch := range b.batches {
		n = append(n, len(batch))
	}
	return fmt.Sprint(n)
}

// gathered runs a test in a bubble, with a Box of one common session whose changes are gathered.
func gathered(t *testing.T, test func(*testing.T, *slowBox, *Box)) {
	t.Helper()
	slowly(t, nil, true, test)
}

// slowly runs a test in a bubble, with a Box of one common session that asks whether it may change.
func slowly(t *testing.T, may func() error, gather bool, test func(*testing.T, *slowBox, *Box)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		box := &slowBox{script: script{live: map[*scripted]bool{}}, goOn: make(chan struct{})}
		cfg, err := Config{
			Address: "rds:22", Cluster: testCluster, VolumePaths: []string{testPath}, Sessions: 2, CommandTimeout: 10 * time.Second,
			MayChange: may,
		}.complete()
		if err != nil {
			t.Fatal(err)
		}
		b := newWith(cfg, func(ctx context.Context, _ Config) (session, error) {
			s, err := box.dial(ctx)
			scripted, ok := s.(*scripted)
			if !ok {
				return nil, err
			}
			return slowSession{scripted, box}, nil
		}, 1, gather)
		test(t, box, b)
		b.Close()
	})
}

// start sends a change and returns where its answer will be.
func start(ctx context.Context, b *Box, seen *snapshot, size int64) <-chan answer {
	c := make(chan answer, 1)
	go func() { c <- b.change(ctx, command{kind: KindExpand, seen: seen}, setSize{size: size}) }()
	synctest.Wait()
	return c
}

// TestGather lets many wait for one session: they go together, up to 32, in their order, and each gets its
// own answer.
func TestGather(t *testing.T) {
	gathered(t, func(t *testing.T, box *slowBox, b *Box) {
		var answers []<-chan answer
		const many = 45
		for n := range int64(many) {
			answers = append(answers, start(t.Context(), b, nil, n))
		}
		for range 3 {
			box.goOn <- struct{}{}
			synctest.Wait()
		}
		if got := box.lengths(); got != "[1 32 12]" {
			t.Errorf("sent together: %s, want [1 32 12]", got)
		}
		n := int64(0)
		for _, batch := range box.batches {
			for _, c := range batch {
				if sizeOf(c) != n {
					t.Errorf("%d was sent in place of %d", sizeOf(c), n)
				}
				n++
			}
		}
		for n, c := range answers {
			a := <-c
			if n == 0 && fateOf(a.err) != refused || n > 0 && (a.err != nil || a.made != fmt.Sprint(n)) {
				t.Errorf("%d was answered %+v", n, a)
			}
		}
		if open, busy := b.sessions.told[0], b.sessions.told[1]; open != 1 || busy != 0 {
			t.Errorf("%d sessions are open and %d busy at the end", open, busy)
		}
	})
}

// TestGatherDeadline gets no answer to a batch: all who are in it learn that it is not known what became of
// their change, at the first of their deadlines, and those who still wait are sent on another session.
func TestGatherDeadline(t *testing.T) {
	gathered(t, func(t *testing.T, box *slowBox, b *Box) {
		first := start(t.Context(), b, nil, 1)
		time.Sleep(time.Second)
		second := start(t.Context(), b, nil, 2)
		time.Sleep(time.Second)
		hurried, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		third := start(hurried, b, nil, 3)
		box.goOn <- struct{}{}
		if a := <-first; a.err != nil {
			t.Error(a.err)
		}
		synctest.Wait()
		late := start(t.Context(), b, nil, 4) // waits
		begin := time.Now()
		for _, c := range []<-chan answer{second, third} {
			if a := <-c; fateOf(a.err) != unanswered {
				t.Errorf("a change without an answer = %+v", a)
			}
		}
		if d := time.Since(begin); d != 6*time.Second {
			t.Errorf("they were given up after %v", d)
		}
		box.goOn <- struct{}{}
		if a := <-late; a.err != nil || a.made != "4" {
			t.Errorf("the one that waited = %+v", a)
		}
		if got := box.lengths(); got != "[1 2 1]" {
			t.Errorf("sent together: %s", got)
		}
	})
}

// TestGatherCancelled shows that a caller who gives up ends its own change alone, and that none goes along
// with one that has little time left.
func TestGatherCancelled(t *testing.T) {
	gathered(t, func(t *testing.T, box *slowBox, b *Box) {
		first := start(t.Context(), b, nil, 1)
		leads, cancelLeads := context.WithCancel(t.Context())
		waits, cancelWaits := context.WithCancel(t.Context())
		carried, cancelCarried := context.WithCancel(t.Context())
		lead, wait, along, last := start(leads, b, nil, 2), start(waits, b, nil, 3), start(carried, b, nil, 4), start(t.Context(), b, nil, 5)
		cancelWaits()
		if a := <-wait; fateOf(a.err) != unsent {
			t.Errorf("a change that was cancelled while it waited = %+v", a)
		}
		box.goOn <- struct{}{}
		<-first
		synctest.Wait()
		cancelCarried()
		if a := <-along; fateOf(a.err) != unanswered {
			t.Errorf("a change that was cancelled when it was sent = %+v", a)
		}
		cancelLeads()
		synctest.Wait()
		box.goOn <- struct{}{}
		if a := <-lead; a.made != "2" {
			t.Errorf("the one that leads = %+v", a)
		}
		if a := <-last; a.made != "5" {
			t.Errorf("the one that is carried = %+v", a)
		}

		first = start(t.Context(), b, nil, 6)
		hurried := start(t.Context(), b, nil, 7)
		time.Sleep(6 * time.Second)
		calm := start(t.Context(), b, nil, 8)
		for range 3 {
			box.goOn <- struct{}{}
			synctest.Wait()
		}
		for i, c := range []<-chan answer{first, hurried, calm} {
			if a := <-c; a.err != nil {
				t.Errorf("%d: %v", i, a.err)
			}
		}
		if got := box.lengths(); got != "[1 3 1 1 1]" {
			t.Errorf("sent together: %s", got)
		}
	})
}

// TestGatherYoung shows that a change does not go along on a session that is younger than its listing.
func TestGatherYoung(t *testing.T) {
	gathered(t, func(t *testing.T, box *slowBox, b *Box) {
		old := &snapshot{began: b.sessions.tick()}
		first := start(t.Context(), b, nil, 1)
		lead, stale := start(t.Context(), b, nil, 2), start(t.Context(), b, old, 3)
		for range 2 {
			box.goOn <- struct{}{}
			synctest.Wait()
		}
		<-first
		if a := <-lead; a.err != nil {
			t.Error(a.err)
		}
		if a := <-stale; !errors.Is(a.err, errElsewhere) || fateOf(a.err) != unsent {
			t.Errorf("a change that needs an older session = %+v", a)
		}
		if got := box.lengths(); got != "[1 1]" {
			t.Errorf("sent together: %s", got)
		}
	})
}

// TestGatherStorm writes many volumes at a time over few sessions, while every tenth set, in the middle of a
// script or alone, is refused: each write is answered with what the box shows.
func TestGatherStorm(t *testing.T) {
	const volumes = 60
	overEach(t, func() sim.Config {
		var n atomic.Int32
		return sim.Config{Fault: func(c sim.Command) sim.Fault {
			if c.Name == "/disk/set" && n.Add(1)%10 == 0 {
				return sim.Fault{Trap: "failure: no"}
			}
			return sim.Fault{}
		}}
	}, func(t *testing.T, s bench) {
		b, ctx := s.box(t, func(cfg *Config) { cfg.Sessions = 2 }), testContext(t)
		var wg sync.WaitGroup
		for v := range volumes {
			wg.Go(func() {
				if _, err := b.Create(ctx, numbered(v)); err != nil {
					t.Error(err)
					return
				}
				shown := uint64(1)
				for g := range uint64(4) {
					w := actors.Write{Volume: volumeID(v), Revoke: g == 3, Rows: []actors.Row{{NQN: numbered(v).NQN, Ledger: gen(g + 2)}}}
					err := b.Write(ctx, w)
					if err == nil {
						shown = g + 2
					} else if !errors.Is(err, actors.ErrUnavailable) {
						t.Errorf("Write = %v", err)
					}
					if row, err := b.Read(ctx, volumeID(v)); err != nil || row.Ledger.Gen != shown {
						t.Errorf("the box shows gen %d, %v, want %d", row.Ledger.Gen, err, shown)
					}
				}
			})
		}
		wg.Wait()
	})
}
