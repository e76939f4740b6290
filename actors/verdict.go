// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"errors"
	"fmt"
	"time"
)

// How long an outcome waits for KubeVirt's verdict when the migration's overlap has ended, and how often
// KubeVirt is asked about a migration that it sets no limit.
const (
	verdictWait = time.Minute
	verdictLook = time.Minute
)

// byDeadline decides that a migration takes too long.
const byDeadline = "deadline"

// A word is what KubeVirt said last of a migration.
type word struct {
	m      Migration
	absent bool      // it knows of none between these nodes
	asked  time.Time // when it was asked last; zero: never, or it is to be asked at once
	news   bool      // it told by itself while it was asked
}

// about reports whether KubeVirt has said anything of a migration.
func (w word) about(mg migration) bool {
	return w.m.Source == mg.source.Node && w.m.Target == mg.target.Node
}

// verdict returns how KubeVirt says that a migration ended, and false where it does not.
func (s State) verdict(mg migration) (ruling, bool) {
	if !s.word.about(mg) || s.word.absent {
		return ruling{}, false
	}
	switch s.word.m.Verdict {
	case VerdictSucceeded:
		return ruling{MigrationCompleted, "", byKubeVirt}, true
	case VerdictFailed:
		reason := s.word.m.Reason
		if reason == "" {
			reason = "KubeVirt gives no reason"
		}
		return ruling{MigrationFailed, reason, byKubeVirt}, true
	case VerdictOpen, VerdictUncertain:
	}
	return ruling{}, false
}

// ended reports whether KubeVirt has said that a migration is over. It does not take that back.
func (w word) ended(mg migration) bool {
	return w.about(mg) && !w.absent && w.m.Verdict != VerdictOpen
}

// waits reports whether KubeVirt may still say how a migration ended.
func (s State) waits(mg migration) bool {
	if !s.rules.Orchestrated {
		return false
	}
	return !s.word.about(mg) || !s.word.absent && s.word.m.Verdict == VerdictOpen
}

// deadline returns when a migration under way has taken too long, and false where that does not count:
// KubeVirt has not begun it, or says that it is over, and the detach that ends it is to come.
func (s State) deadline(mg migration) (at time.Time, limited bool) {
	limit := time.Duration(s.vol.Ledger.Timeout) * time.Second
	if s.word.about(mg) && !s.word.absent {
		switch s.word.m.Verdict {
		case VerdictSucceeded, VerdictFailed:
			return time.Time{}, false
		case VerdictOpen:
			if s.word.m.Started.IsZero() {
				return time.Time{}, false
			}
			if s.word.m.Limit > 0 {
				limit = s.word.m.Limit
			}
		case VerdictUncertain:
		}
	}
	return s.begun(mg).Add(limit), true
}

// begun returns when the time of a migration under way begins to count.
func (s State) begun(mg migration) time.Time {
	if s.word.about(mg) && s.word.m.Verdict == VerdictOpen && !s.word.m.Started.IsZero() {
		return s.word.m.Started
	}
	return mg.start
}

// owed returns the migration whose outcome is to be told, if there is one: open says that it is under way,
// and not pending.
func (s State) owed() (mg migration, open, ok bool) {
	if mg, ok := s.open(); ok {
		return mg, true, true
	}
	mg, ok = s.vol.Ledger.pending()
	return mg, false, ok && s.ours() == nil
}

// attend returns when a migration must be looked at, and false where there is none that waits for
// anything.
func (s State) attend() (time.Time, bool) {
	mg, open, ok := s.owed()
	switch {
	case !ok:
		return time.Time{}, false
	case open:
		at, limited := s.deadline(mg)
		look := s.word.asked.Add(verdictLook)
		if !limited || s.rules.Orchestrated && !s.word.about(mg) && look.Before(at) {
			at = look // KubeVirt may set another deadline
		}
		return later(at, later(s.entries.until, s.asking.until)), true
	}
	at := s.asking.until
	if !s.ruleBy.IsZero() && s.ruleBy.Before(at) {
		at = s.ruleBy
	}
	return later(at, s.entries.until), true
}

// attendDue looks at a migration whose time has come, and reports whether it began something. KubeVirt is
// asked before anything is told.
func (m *machine) attendDue() bool {
	at, ok := m.s.attend()
	if !ok || m.now.Before(at) {
		return false
	}
	if m.stale() {
		m.forget()
		return true
	}
	mg, open, _ := m.s.owed()
	asks := m.s.rules.Orchestrated && !m.s.word.asked.Equal(m.now)
	switch {
	case asks: // a pending outcome too that KubeVirt told by itself: it may have told of an earlier migration
		m.start(inflightAttend, Judge{Source: mg.source.Node, Target: mg.target.Node})
	case open:
		m.recordTimeout(mg)
	default:
		m.rule(mg)
	}
	return true
}

// doneAttend takes KubeVirt's word on a migration whose time has come.
func (m *machine) doneAttend(ev Done) {
	mg, open, _ := m.s.owed()
	if m.hear(mg, ev) || !open {
		return
	}
	m.s.asking.until = time.Time{}
	if at, limited := m.s.deadline(mg); !errors.Is(ev.Err, ErrUnavailable) || !limited || m.now.Before(at) {
		m.s.silentBy = time.Time{}
		return
	}
	// A timeout that is told cannot be taken back: the API server gets a while to come back. It counts from
	// the first question after the deadline, which may be long past for a new process, or another one.
	if m.s.silentBy.IsZero() {
		m.s.silentBy = m.now.Add(verdictWait)
	}
	if m.now.Before(m.s.silentBy) {
		m.s.asking.fail(m.now)
	}
}

// rule decides a migration that has ended, unless KubeVirt may still say how and has some time left.
func (m *machine) rule(mg migration) {
	if m.s.ruleBy.IsZero() {
		m.s.ruleBy = m.now.Add(verdictWait)
	}
	if m.s.waits(mg) && m.now.Before(m.s.ruleBy) {
		m.s.asking.fail(m.now)
		return
	}
	r, decided := m.s.verdict(mg)
	if !decided {
		r = mg.orderOf(m.s.vol.Ledger)
	}
	m.record(mg, r)
}

// judge asks KubeVirt about the migration that a request ends, and reports whether it began that. The
// request is served whatever the answer is.
func (m *machine) judge(r request, after Ledger) bool {
	mg, ok := m.s.open()
	if !ok || !m.s.rules.Orchestrated || r.judged || len(after.Grants) == 2 {
		return false
	}
	m.start(inflightJudge, Judge{For: r.leader(), Source: mg.source.Node, Target: mg.target.Node})
	return true
}

// doneJudge takes KubeVirt's word on the migration that the first request ends. It is written off
// whatever it says.
func (m *machine) doneJudge(ev Done) {
	m.s.asking = backoff{}
	if mg, ok := m.s.open(); ok && m.hear(mg, ev) {
		return
	}
	m.s.queue[0].judged = true
}

// hear takes KubeVirt's answer about a migration, and reports whether it is to be asked again: it told by
// itself meanwhile, and what it answered may be older, unless that is the end.
func (m *machine) hear(mg migration, ev Done) (again bool) {
	end := ev.Err == nil && ev.Migration.Verdict != VerdictOpen && !m.s.word.ended(mg)
	if m.s.word.news && m.s.word.about(mg) && (ev.Err == nil || errors.Is(ev.Err, ErrNotFound)) && !end {
		m.s.word.news, m.s.word.asked = false, time.Time{}
		return true
	}
	w := word{m: ev.Migration}
	w.m.Source, w.m.Target = mg.source.Node, mg.target.Node
	switch {
	case errors.Is(ev.Err, ErrNotFound) && !m.s.word.ended(mg):
		w.absent = true
	case ev.Err != nil:
		w = m.s.word // what it said before still counts, an end that is forgotten by now above all
	}
	w.asked, w.news = m.now, false
	m.s.word = w
	return false
}

// outcome takes what KubeVirt says by itself.
func (m *machine) outcome(ev Outcome) {
	mg, _, ok := m.s.owed()
	w := word{m: ev.Migration, asked: m.s.word.asked, news: m.s.inflight == inflightJudge || m.s.inflight == inflightAttend}
	if m.s.known && (!ok || !w.about(mg)) {
		return // an earlier one, or another volume's
	}
	if old := m.s.word; ok && old.ended(mg) && w.m.Verdict == VerdictOpen && w.m.UID == old.m.UID {
		return // caches lag behind what was read live
	}
	m.s.word, m.s.asking = w, backoff{}
	m.s.look = m.s.look || !m.s.known
}

// recordTimeout writes the outcome into the ledger; it is told when the box has acknowledged it,
// so that it is not told again after a restart. Nothing is revoked: the second node stays until
// it is unpublished.
func (m *machine) recordTimeout(mg migration) {
	at, _ := m.s.deadline(mg)
	took := at.Sub(m.s.begun(mg)).Round(time.Second)
	m.record(mg, ruling{MigrationTimedOut, fmt.Sprintf("not finished after %v", took), byDeadline})
}

// record writes a migration's outcome into the ledger and nothing else.
func (m *machine) record(mg migration, r ruling) {
	l := m.s.vol.Ledger
	l.Told, l.Left = mg.entry(r.kind), ""
	m.s.toTell = []announcing{mg.announcing(r)}
	m.revokeRows(inflightRecord, 0, m.s.rowFor(l))
}

// doneRecord takes the box's answer to the ledger's entry.
func (m *machine) doneRecord(err error) {
	told := m.s.toTell
	m.s.toTell = nil
	row := m.s.sent.last()
	switch {
	case err == nil:
		m.acknowledged(row)
		m.tell(told)
		m.s.entries = backoff{}
	case unknown(err):
		m.settleNow(row, row.Ledger.Gen, m.over())
		m.s.settling.toTell = told
	default:
		m.s.entries.fail(m.now)
		m.forget()
	}
}
