// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// A settlement is the way from a write whose answer was lost back to certainty. Such a write may
// land at any time, even after a read-back showed the old row. So the row is written again with a
// higher gen until the box acknowledges that, and read back once the lost write's time is over;
// if it does not stand, all over again.
//
// While it lasts nobody is granted anything, and an unpublish is answered only at its end.
type settlement struct {
	row Row    // what the box shall show: no more rights than were granted and not asked back
	gen uint64 // the highest that was sent

	// blind says that the row which is found at the end is the truth, because what was in doubt was
	// not a write of this process, or not of the ledger.
	blind bool

	// bounce says that the export must go off once more before it may be taken for certain that a
	// lost node is fenced. Until bounceAt the row is kept on for the survivor's sake, and its ledger
	// says that a bounce is owed: a crash must not forget it.
	bounce   bool
	bounceAt time.Time
	fence    bool // a bounce was or is called for: a row that strays in after it calls for another

	// over is when no write whose answer was lost can land any more. A bounce before it would not count:
	// such a write may land between its two rows and let a lost node back in, and the read-back would match.
	over time.Time

	acked  bool      // row was acknowledged with gen
	due    time.Time // of the next step
	tries  backoff
	strays int // read-backs that showed another row

	held   []request    // unpublishes to be answered at the end
	toTell []announcing // to be told at the end, as far as the row shows it then
}

// settleNow begins a settlement that writes at once. gen is the highest that was sent; what was lost can
// land until over.
func (m *machine) settleNow(row Row, gen uint64, over time.Time) {
	m.s.settling = &settlement{row: row, gen: gen, due: m.now, over: over}
}

// settleLater begins the settlement of an exclusive operation. Whatever becomes of the disk shows
// when its time is over.
func (m *machine) settleLater() {
	m.s.settling = &settlement{
		row: rowOf(m.s.vol), blind: true, gen: m.s.vol.Ledger.Gen,
		acked: true, due: m.over(), over: m.over(),
	}
}

// over returns when neither a write that is given up now can land any more nor one of an earlier
// process.
func (m *machine) over() time.Time {
	return later(m.now.Add(m.s.rules.CommandTimeout), m.s.rules.Quiet)
}

// doubt says what the settlement waits for.
func (m *machine) doubt() string {
	if m.now.Before(m.s.rules.Quiet) {
		return fmt.Sprintf("the driver started just now, and what an earlier process sent to the box may land for another %v", m.s.rules.Quiet.Sub(m.now).Truncate(time.Second)+time.Second)
	}
	return "an earlier write to the box is unresolved"
}

// bounceAgain notes that the export is to be bounced, not before a point in time.
func (st *settlement) bounceAgain(at time.Time) {
	st.bounce, st.bounceAt, st.fence = true, at, true
}

// bounceDue returns when the export is to be bounced.
func (st *settlement) bounceDue() time.Time { return later(st.bounceAt, st.over) }

// settle takes the next step if it is due, and reports whether it took one.
func (m *machine) settle() bool {
	st := m.s.settling
	if m.now.Before(st.due) {
		return false
	}
	var leader Waiter
	if len(st.held) > 0 {
		leader = st.held[0].leader()
	}
	switch {
	case st.bounce && !m.now.Before(st.bounceDue()):
		m.revokeRows(inflightSettle, leader, m.bounced(st.row.Ledger)...)
	case st.acked && st.bounce:
		st.due = st.bounceDue()
		return false
	case st.acked:
		m.start(inflightVerify, ReadRow{For: leader})
		return true
	default:
		row := st.row
		if row.Ledger.Off = st.bounce; st.bounce && row.Ledger.Bounce == 0 {
			row.Ledger.Bounce = TokenAt(m.now) // a ledger marks the time of a bounce that is owed
		}
		m.revokeRows(inflightSettle, leader, row)
	}
	st.row = m.s.sent.last()
	st.row.Ledger.Off = false
	st.gen = st.row.Ledger.Gen
	return true
}

// hold keeps an unpublish until the settlement ends, and sees that its node is written off.
func (m *machine) hold(r request) {
	st := m.s.settling
	before := st.row.Ledger
	l := before.without(r.node)
	// Where a take-over is in doubt, the row may be another cluster's still.
	if len(l.Grants) != len(before.Grants) && before.Cluster == m.s.rules.Cluster {
		l, told := m.end(before, l)
		st.toTell = append(append(st.toTell, departures(r, l, before)...), told...)
		if bounces(before, l, r.lost) {
			st.bounceAgain(m.bounceAfter(l))
		}
		if len(l.Grants) == 0 {
			st.bounce, st.fence = false, false // the export goes off for good
		}
		st.row = m.s.rowFor(l)
		st.blind, st.acked = false, false
	}
	if !st.acked {
		st.due = m.now // somebody waits: do not sit out the backoff
	}
	// Nothing is granted while it lasts, so that whoever asks for the same may share the answer.
	if i := slices.IndexFunc(st.held, r.same); i >= 0 {
		m.join(&st.held[i], r)
		return
	}
	if len(st.held) >= maxQueue {
		m.reply(r, m.tooMany(len(st.held)))
		return
	}
	st.held = append(st.held, r)
}

// bounceAfter returns when the export may be bounced again without losing a survivor that is
// still reconnecting from the last time.
func (m *machine) bounceAfter(l Ledger) time.Time {
	if l.Bounce == 0 {
		return m.now
	}
	return later(m.now, l.Bounce.Time().Add(m.s.rules.BounceGap))
}

// doneSettle takes the box's answer to the settlement's write.
func (m *machine) doneSettle(err error) {
	st := m.s.settling
	switch {
	case err == nil:
		m.acknowledged(m.s.sent.last())
		st.acked, st.tries = true, backoff{}
		if st.bounce && len(m.s.sent.Rows) == 1 {
			st.due = st.bounceDue() // the survivor is served meanwhile
			return
		}
		st.bounce = false
		m.tellRepaired()
		// The lost write was given up before this one was sent.
		st.due = m.over()
	case unknown(err) || errors.Is(err, ErrUnavailable):
		if unknown(err) {
			st.over = m.over()
		}
		if unknown(err) && len(m.s.sent.Rows) > 1 {
			// It may have happened, or half of it, or may yet: the survivor is served first.
			st.bounceAgain(m.now.Add(m.s.rules.BounceGap))
			st.acked = false
		}
		m.settleAgain(fmt.Errorf("settle volume %s: %w", m.s.id, err))
	default:
		// The box refuses: the row is gone, or another cluster's. What is there at the end stands,
		// and if it owes a bounce, that begins anew. Nobody can wait for how often.
		if st.bounce {
			m.release(fmt.Errorf("settle volume %s: %w", m.s.id, err))
		}
		st.bounce, st.blind, st.acked = false, true, true
		st.due = m.over()
	}
}

// tellRepaired tells of a repair that the box has acknowledged. What else is to be told waits for the end:
// a lost write that lands until then undoes it, and after a crash it would be told again.
func (m *machine) tellRepaired() {
	st := m.s.settling
	repaired := func(p announcing) bool { return p.a.Kind == Repaired }
	for _, p := range st.toTell {
		if repaired(p) {
			m.tell([]announcing{p})
		}
	}
	st.toTell = slices.DeleteFunc(st.toTell, repaired)
}

// settleAgain postpones the settlement.
func (m *machine) settleAgain(err error) {
	st := m.s.settling
	st.tries.fail(m.now)
	st.due = st.tries.until
	m.release(err)
}

// release answers who waits for the settlement: the outcome is not known.
func (m *machine) release(err error) {
	st := m.s.settling
	for _, r := range st.held {
		m.reply(r, unresolved(err))
	}
	st.held = nil
}

// doneVerify takes the read-back.
func (m *machine) doneVerify(ev Done) {
	st := m.s.settling
	if ev.Err != nil {
		m.settleAgain(m.unread(ev.Err))
		return
	}
	v := ev.Volume
	if gone := !v.Exists || !v.Ours || v.Ledger.Cluster != m.s.rules.Cluster; gone || st.blind || v.shows(st.row) {
		m.settled(v)
		return
	}
	// The lost write landed after ours, or somebody else wrote. With it a lost node may have come
	// back that was bounced off.
	st.gen = max(st.gen, v.Ledger.Gen)
	st.acked, st.due = false, m.now
	if st.fence {
		st.bounceAgain(m.bounceAfter(st.row.Ledger))
	}
	if st.strays++; st.strays > 1 {
		// One write was lost, so that this is another: nobody can wait for how many there are.
		m.settleAgain(fmt.Errorf("settle volume %s: the box shows %+v although %+v was acknowledged, see who else writes to it", m.s.id, rowOf(v), st.row))
	}
}

// settled ends the settlement with the row as it stands. The requests that it held are decided
// again: a row that was not ours to choose may still grant their nodes.
func (m *machine) settled(v Volume) {
	stands := v
	if m.lost(v) {
		stands = m.s.vol // it is written again
	}
	for _, p := range m.s.settling.toTell {
		if p.shownBy(stands) {
			m.tell([]announcing{p})
		}
	}
	m.tellReplaced(stands)
	m.s.queue = append(m.s.settling.held, m.s.queue...)
	m.s.settling = nil
	m.s.known, m.s.readAt = true, m.now
	m.take(v, false)
}

// tellReplaced tells the outcome that was pending and that the row which stands has no room for: a grant
// whose answer was lost began the next migration, and nobody who reads the row will find the earlier one.
func (m *machine) tellReplaced(stands Volume) {
	mg, pending := m.s.vol.Ledger.pending()
	next, migrating := stands.Ledger.migration()
	if !pending || !migrating || next.target.At <= mg.target.At || stands.Ledger.Cluster != m.s.rules.Cluster {
		return
	}
	r, decided := m.s.verdict(mg)
	if !decided {
		r = mg.orderOf(m.s.vol.Ledger)
	}
	m.tell([]announcing{mg.announcing(r)})
}
