// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// FuzzStep plays arbitrary schedules of requests, answers, lost answers, late writes, crashes and
// time against one volume, and holds every one to the promises P1 to P4.
func FuzzStep(f *testing.F) {
	f.Add([]byte{0, 9, 1, 9, 4, 9, 9})             // publish twice, detach
	f.Add([]byte{0, 9, 10, 9, 12, 16, 9})          // a lost grant lands late
	f.Add([]byte{24, 0, 9, 9, 25, 9, 7, 11, 9, 9}) // a bounce is lost halfway
	f.Add([]byte{24, 9, 25, 9, 18, 9, 4, 9})       // a migration times out
	f.Add([]byte{0, 9, 9, 20, 9, 4, 9, 16, 9})     // a crash
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 200 {
			return
		}
		p := play{stage: newStage(t, FencingHost), asked: map[Waiter]Event{}}
		if len(script) > 0 && script[0]&0x80 != 0 {
			p.row.Ledger.Fencing = FencingEpoch
		}
		for _, b := range script {
			p.act(b & 0x7f)
			p.check()
		}
		p.end()
	})
}

// A play is a stage whose promises are checked after every act.
type play struct {
	*stage
	asked  map[Waiter]Event
	writes int // writes that were checked
	crash  int
}

var playNodes = []NodeID{"node-a", "node-b", "node-c"}

func (p *play) act(b byte) {
	node := playNodes[int(b)%3]
	switch {
	case b < 3:
		p.ask(Publish{Waiter: p.ticket(), Node: node, Access: AccessSingle})
	case b < 6:
		p.ask(Unpublish{Waiter: p.ticket(), Node: node})
	case b < 9:
		p.ask(Unpublish{Waiter: p.ticket(), Node: node, Lost: "gone"})
	case b < 12:
		p.reply(int(b - 9))
	case b == 12:
		p.landOne()
	case b < 20:
		p.pass([]time.Duration{time.Millisecond, time.Second, 3 * time.Second, testRules.CommandTimeout, testRules.BounceGap, 300 * time.Second, time.Hour}[b-13])
	case b == 20:
		p.restartNow()
	case b == 21:
		p.do(Observed{})
	case b == 22:
		p.ask(Unpublish{Waiter: p.ticket()})
	case b == 23:
		p.refuse()
	case b < 27:
		p.ask(Publish{Waiter: p.ticket(), Node: node, Access: AccessShared})
	case b < 30:
		p.ask(Publish{Waiter: p.ticket(), Node: node, Access: AccessReader})
	case b < 33:
		p.ask(Exclusive{Waiter: p.ticket(), Op: Operation{Kind: []OpKind{OpCreate, OpDelete, OpExpand}[b-30]}})
	}
}

func (p *play) ticket() Waiter {
	p.tickets++
	return p.tickets
}

func (p *play) ask(ev Event) {
	switch ev := ev.(type) {
	case Publish:
		p.asked[ev.Waiter] = ev
	case Unpublish:
		p.asked[ev.Waiter] = ev
	case Exclusive:
		p.asked[ev.Waiter] = ev
	}
	p.do(ev)
}

// reply answers what is in flight: with success, or by losing the answer after n rows landed.
func (p *play) reply(how int) {
	if p.pending == nil {
		return
	}
	w, write := writeOf(p.pending)
	switch {
	case how == 0:
		p.answer()
	case write:
		p.lose(min(how-1, len(w.Rows)))
	default:
		p.fail(ErrUnresolved)
	}
}

// refuse answers what is in flight with a failure that changed nothing.
func (p *play) refuse() {
	if p.pending != nil {
		p.fail(ErrUnavailable)
	}
}

// landOne makes the oldest lost row land, if its time is not over.
func (p *play) landOne() {
	p.expire()
	if len(p.lost) > 0 {
		p.land(p.lost[0].row)
		p.lost = p.lost[1:]
	}
}

func (p *play) expire() {
	p.lost = slices.DeleteFunc(p.lost, func(l lostRow) bool { return !p.now.Before(l.at.Add(testRules.CommandTimeout)) })
}

// pass lets time go by without the box answering anything.
func (p *play) pass(d time.Duration) {
	p.now = p.now.Add(d)
	p.expire()
	if at := p.s.Deadline(); !at.IsZero() && !at.After(p.now) {
		p.do(Tick{})
	}
}

// restartNow crashes the process: who waited is gone, and what was in flight may land.
func (p *play) restartNow() {
	if w, ok := writeOf(p.pending); ok {
		for _, row := range w.Rows {
			p.lost = append(p.lost, lostRow{row, p.now})
		}
	}
	rules := testRules
	rules.Quiet = p.now.Add(testRules.CommandTimeout)
	p.restart(rules)
	clear(p.asked)
	p.crash++
	p.do(Observed{})
}

// check holds what has happened since the last check to the promises.
func (p *play) check() {
	p.t.Helper()
	p.expire()
	if p.row.Exists {
		if err := p.row.Ledger.check(); err != nil {
			p.t.Fatalf("P1: the box shows a ledger with %v", err)
		}
	}
	for _, w := range p.sent[p.writes:] {
		last := w.last()
		if grants := len(last.Ledger.Grants) > len(p.row.Ledger.Grants); grants && !w.Revoke && len(p.lost) > 0 {
			p.t.Fatalf("P2: granted %+v while %+v may land", last, p.lost)
		}
	}
	p.writes = len(p.sent)
	for w, r := range p.replies {
		if ev, ok := p.asked[w]; ok {
			p.answered(ev, r)
			delete(p.asked, w)
		}
	}
}

func (p *play) answered(ev Event, r Reply) {
	p.t.Helper()
	if r.Err != nil {
		for _, kind := range []error{ErrNotFound, ErrExists, ErrPrecondition, ErrBusy, ErrUnavailable, ErrUnresolved} {
			if errors.Is(r.Err, kind) {
				return
			}
		}
		p.t.Fatalf("P3: an error of no kind: %v", r.Err)
	}
	switch ev := ev.(type) {
	case Publish:
		if !r.Volume.Ledger.Granted(ev.Node) || !r.Volume.Export {
			p.t.Fatalf("publish to %s answered %+v", ev.Node, r.Volume)
		}
	case Unpublish:
		if ev.Node == "" && len(p.row.Ledger.Grants) > 0 || p.row.Ledger.Granted(ev.Node) {
			p.t.Fatalf("P6: unpublish of %q answered success, the box shows %+v", ev.Node, p.row)
		}
		for _, l := range p.lost {
			if ev.Node == "" && len(l.row.Ledger.Grants) > 0 || l.row.Ledger.Granted(ev.Node) {
				p.t.Fatalf("P6: unpublish of %q answered success while %+v may land", ev.Node, l.row)
			}
		}
	}
}

// end lets the box answer everything and holds the outcome to P3: everybody was answered, and
// nothing is left to do.
func (p *play) end() {
	p.t.Helper()
	p.lost = nil
	for range 20 {
		p.sleep(time.Minute)
	}
	p.check()
	if len(p.asked) > 0 {
		p.t.Fatalf("P3: never answered: %+v", p.asked)
	}
	if m := p.s.Migrating(); !p.s.Idle() && !m {
		p.t.Fatalf("never idle: %+v", p.s)
	}
	outcomes, starts := 0, 0
	for _, a := range p.told {
		switch a.Kind {
		case MigrationStarted:
			starts++
		case MigrationCompleted, MigrationFailed, MigrationTimedOut:
			outcomes++
		}
	}
	if outcomes > starts+p.crash {
		p.t.Fatalf("P5: %d outcomes of %d migrations and %d crashes", outcomes, starts, p.crash)
	}
}
