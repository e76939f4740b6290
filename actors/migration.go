// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"fmt"
	"strings"
	"time"
)

// A migration is a shared volume granted to two nodes. It is derived from the ledger alone, so
// that a restart finds the same one.
type migration struct {
	source, target Grant // the newer grant is the target's
	start          time.Time
	deadline       time.Time
	told           bool // its outcome is in the ledger: it was announced
}

// migration returns the migration that the ledger shows, if there is one.
func (l Ledger) migration() (migration, bool) {
	if l.Access != AccessShared || len(l.Grants) != 2 {
		return migration{}, false
	}
	m := migration{source: l.Grants[0], target: l.Grants[1]}
	m.start = m.target.At.Time()
	m.deadline = m.start.Add(time.Duration(l.Timeout) * time.Second)
	m.told = strings.HasSuffix(l.Told, "."+m.target.At.String())
	return m, true
}

// entry is the ledger's record of an outcome. The token tells which migration it belongs to.
func (mg migration) entry(kind AnnouncementKind) string { return entry(kind, mg.target.At) }

func entry(kind AnnouncementKind, target Token) string {
	name := "timeout"
	switch kind {
	case MigrationCompleted:
		name = "success"
	case MigrationFailed:
		name = "failed"
	}
	return name + "." + target.String()
}

// shownBy reports whether a row shows what is to be told, so that nobody will find it out again.
func (p announcing) shownBy(v Volume) bool {
	switch {
	case !v.Exists:
		return true
	case p.a.Kind == Detached:
		return !v.Ledger.Granted(p.a.Node)
	}
	return v.Ledger.Told == entry(p.a.Kind, TokenAt(p.since)) // a migration's outcome
}

// outcomeTold returns what the ledger after, which follows before, records of an outcome.
func outcomeTold(before, after Ledger) string {
	a, ends := outcome(before, after)
	if !ends {
		return after.Told
	}
	mg, _ := before.migration()
	return mg.entry(a.a.Kind)
}

// outcome returns the announcement of how a migration ends when the ledger after follows before,
// and false if none ends or its outcome was told. The order of detaches decides: the source left
// and the target stays, or not.
func outcome(before, after Ledger) (announcing, bool) {
	mg, ok := before.migration()
	if !ok || len(after.Grants) == 2 || mg.told {
		return announcing{}, false
	}
	a := Announcement{Source: mg.source.Node, Target: mg.target.Node}
	switch {
	case after.Granted(mg.target.Node):
		a.Kind = MigrationCompleted
	case after.Granted(mg.source.Node):
		a.Kind, a.Reason = MigrationFailed, "target detached before source"
	default:
		a.Kind, a.Reason = MigrationFailed, "source and target detached together"
	}
	return announcing{a, mg.start}, true
}

// timeoutDue reports whether the migration under way has taken too long and nobody was told.
func (m *machine) timeoutDue() bool {
	mg, ok := m.s.open()
	return ok && !m.now.Before(later(mg.deadline, m.s.entries.until))
}

// recordTimeout writes the outcome into the ledger; it is told when the box has acknowledged it,
// so that it is not told again after a restart. Nothing is revoked: the second node stays until
// it is unpublished.
func (m *machine) recordTimeout() {
	l := m.s.vol.Ledger
	mg, _ := l.migration()
	l.Told = mg.entry(MigrationTimedOut)
	m.s.toTell = []announcing{{Announcement{
		Kind: MigrationTimedOut, Source: mg.source.Node, Target: mg.target.Node,
		Reason: fmt.Sprintf("not finished after %v", time.Duration(l.Timeout)*time.Second),
	}, mg.start}}
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
		m.settleNow(row, row.Ledger.Gen)
		m.s.settling.toTell = told
	default:
		m.s.entries.fail(m.now)
		m.forget()
	}
}
