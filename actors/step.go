// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Step is the volume's state machine. It is pure: it does no I/O, reads no clock, and does not
// change what s refers to. The effects are to be carried out in order.
func Step(s State, now time.Time, ev Event) (State, []Effect) {
	m := machine{s: s.clone(), now: now}
	switch ev := ev.(type) {
	case Publish:
		m.accept(request{kind: publishing, node: ev.Node, access: ev.Access, policy: ev.Policy, nqn: ev.Attached, waiters: []Waiter{ev.Waiter}})
	case Unpublish:
		m.accept(request{kind: unpublishing, node: ev.Node, lost: ev.Lost, stale: ev.Stale, waiters: []Waiter{ev.Waiter}})
	case TakeOver:
		m.accept(request{kind: adopting, from: ev.From, gen: ev.Gen, force: ev.Force, waiters: []Waiter{ev.Waiter}})
	case Exclusive:
		m.accept(request{kind: exclusive, op: ev.Op, waiters: []Waiter{ev.Waiter}})
	case Observed:
		m.observed()
	case Suspected:
		m.suspected(ev.Nodes)
	case Outcome:
		m.outcome(ev)
	case Done:
		m.done(ev)
	case Tick:
		// Nothing to note: advance looks at everything that is due.
	}
	m.advance()
	return m.s, m.effects
}

// A machine is one Step under way: the new state, and the effects so far.
type machine struct {
	s       State
	now     time.Time
	effects []Effect
}

func (m *machine) emit(e Effect) { m.effects = append(m.effects, e) }

// start emits an effect that talks to the box and notes that its Done is awaited. A GrantRow or
// RevokeRow goes through grantRows or revokeRows instead.
func (m *machine) start(what inflight, e Effect) {
	m.s.inflight = what
	m.emit(e)
}

// advance does whatever can be done until an effect is in flight or nothing is left. The order is
// the order of precedence: know the row, settle what is unresolved, serve requests, attend to
// migrations, clear what is stale.
func (m *machine) advance() {
	for m.s.inflight == inflightNone {
		switch {
		case !m.s.known:
			if !m.read() {
				return
			}
		case m.s.settling != nil && m.settle():
		case len(m.s.queue) > 0:
			m.serve()
		case m.s.settling == nil && m.attendDue():
		case m.s.settling == nil && m.confirm():
		default:
			return
		}
	}
}

// read emits Read if somebody needs the row and it may be tried now.
func (m *machine) read() bool {
	if len(m.s.queue) > 0 {
		m.start(inflightRead, ReadRow{For: m.s.queue[0].leader()})
		return true
	}
	if !m.s.look || m.now.Before(m.s.backoff.until) {
		return false
	}
	m.start(inflightRead, ReadRow{})
	return true
}

// observed notes that the row must be read again.
func (m *machine) observed() {
	if m.s.inflight != inflightNone {
		m.s.again = true // what is in flight may have begun before the change
		return
	}
	m.forget()
}

// forget makes the row unknown, so that it is read before anything is decided. A settlement ends
// with reading it anyway.
func (m *machine) forget() {
	if m.s.settling != nil {
		return
	}
	m.s.known = false
	m.s.look = true
	m.s.backoff = backoff{}
}

// done takes the result of the effect in flight.
func (m *machine) done(ev Done) {
	what := m.s.inflight
	m.s.inflight = inflightNone
	switch what {
	case inflightRead:
		m.doneRead(ev)
	case inflightGrant:
		m.doneGrant(ev.Err)
	case inflightRevoke:
		m.doneRevoke(ev.Err)
	case inflightRun:
		m.doneRun(ev)
	case inflightSettle:
		m.doneSettle(ev.Err)
	case inflightVerify:
		m.doneVerify(ev)
	case inflightRecord:
		m.doneRecord(ev.Err)
	case inflightConfirm:
		m.doneConfirm(ev)
	case inflightAdmit:
		m.doneAdmit(ev.Err)
	case inflightJudge:
		m.doneJudge(ev)
	case inflightAttend:
		m.doneAttend(ev)
	case inflightAdopt:
		m.doneAdopt(ev)
	case inflightAdopted:
		m.doneAdopted(ev.Err)
	case inflightNone:
		return // a result that nobody awaits: a caller's mistake that must not corrupt the state
	}
	if m.s.again {
		m.s.again = false
		m.forget()
	}
}

// serve begins the first request of the queue, or answers it.
func (m *machine) serve() {
	r := m.s.queue[0]
	if m.stale() {
		// Read it again; requests wait for it, and so does the time of a migration.
		_, m.s.look = m.s.attend()
		m.s.known = false
		return
	}
	if m.s.adoptable() && r.kind != adopting {
		m.adoption(r)
		return
	}
	switch r.kind {
	case publishing:
		m.publish(r)
	case unpublishing:
		m.unpublish(r)
	case exclusive:
		m.run(r)
	case adopting:
		m.takeOver(r)
	}
}

// stale reports whether the row was read too long ago to decide on.
func (m *machine) stale() bool {
	return m.s.settling == nil && m.now.Sub(m.s.readAt) > m.s.rules.Fresh
}

// refuse answers the first request with an error.
func (m *machine) refuse(err error) { m.reply(m.pop(), err) }

// acknowledged takes a row that the box has acknowledged as what it shows now.
func (m *machine) acknowledged(row Row) {
	v := &m.s.vol
	if !slices.Equal(v.Ledger.Grants, row.Ledger.Grants) {
		m.s.refused = nil // who holds the volume has changed: a conflict is news again
	}
	v.Exists, v.Ours = true, true
	v.Export, v.NQN, v.AllowHost, v.Ledger = row.Export, row.NQN, row.AllowHost, row.Ledger
	m.s.readAt = m.now
	m.s.backoff = backoff{}
}

// tell announces what waited for the box's answer.
func (m *machine) tell(as []announcing) {
	for _, p := range as {
		p.a.Volume, p.a.At = m.s.id, m.now
		p.a.Duration = max(0, m.now.Sub(p.since)) // the clock of another machine may have been ahead
		m.emit(Announce{p.a})
	}
}

// unresolved gives an error whose effect may have happened the kind that says so, and no other.
func unresolved(err error) error {
	if errors.Is(err, ErrUnresolved) {
		return err
	}
	return fmt.Errorf("%w: %v", ErrUnresolved, err) //nolint:errorlint // of one kind only
}

// unknown reports whether an effect that failed with err may have happened all the same, or may
// happen yet. Only an answer of the box, or the certainty that nothing was sent, rules that out.
func unknown(err error) bool {
	if errors.Is(err, ErrUnresolved) {
		return true
	}
	return !slices.ContainsFunc(answers, func(kind error) bool { return errors.Is(err, kind) })
}
