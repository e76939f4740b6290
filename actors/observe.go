// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"errors"
	"fmt"
)

// doneRead takes the row that was read.
func (m *machine) doneRead(ev Done) {
	if ev.Err != nil {
		m.s.backoff.fail(m.now)
		m.replyAll(m.unread(ev.Err))
		return
	}
	first := m.s.readAt.IsZero()
	m.s.known, m.s.look, m.s.readAt = true, false, m.now
	m.s.backoff = backoff{}
	if m.s.settling != nil {
		return // what was read decides nothing: the settlement writes, then reads back
	}
	m.take(ev.Volume, first)
}

// unread says that a row could not be read. Whatever the reason, nothing was changed by trying.
func (m *machine) unread(err error) error {
	if errors.Is(err, ErrPrecondition) || errors.Is(err, ErrUnavailable) {
		return fmt.Errorf("read the row of volume %s: %w", m.s.id, err)
	}
	return fmt.Errorf("read the row of volume %s: %v: %w", m.s.id, err, ErrUnavailable) //nolint:errorlint // the kind is the read's, whatever the cause's was
}

// take makes a row the box's state, or begins to settle it where it cannot stand as it is.
func (m *machine) take(read Volume, first bool) {
	if !first && m.lost(read) {
		m.restore(read)
		return
	}
	m.s.vol = read
	m.s.vol.ID = m.s.id
	m.s.epoch = max(m.s.epoch, read.Ledger.Epoch)
	switch {
	case m.s.ours() == nil && read.Ledger.Off:
		m.finishBounce(read)
	case m.s.others() || !first || !m.now.Before(m.s.rules.Quiet):
		// Nothing of it is ours to mend, or nothing needs it.
	default:
		// A command of an earlier process may still land: see that the row stands until then, and where
		// there is none, that none appears.
		m.s.settling = &settlement{
			row: rowOf(read), blind: true, gen: read.Ledger.Gen, acked: true, due: m.s.rules.Quiet, over: m.s.rules.Quiet,
		}
	}
}

// others reports whether the volume's row is one that no process of this cluster's writes.
func (s State) others() bool { return s.vol.Exists && s.ours() != nil && !s.adoptable() }

// finishBounce ends a bounce that was cut short. Where the export is off, whoever was connected is
// gone, and it is only turned on again. Where it is on, the bounce is owed still.
func (m *machine) finishBounce(read Volume) {
	l := read.Ledger
	l.Off = false
	m.settleNow(m.s.rowFor(l), l.Gen, m.s.rules.Quiet)
	if read.Export {
		m.s.settling.bounceAgain(m.bounceAfter(l))
	}
}

// lost reports whether the row that was read is from before one that the box had acknowledged.
func (m *machine) lost(read Volume) bool {
	return m.s.ours() == nil && read.Exists && read.Ours && read.Ledger.Cluster == m.s.rules.Cluster &&
		read.Ledger.Gen < m.s.vol.Ledger.Gen
}

// restore writes what the actor remembers over an older row. The box forgot writes that it had
// acknowledged and that nodes were told of: it came back with an older configuration.
func (m *machine) restore(read Volume) {
	m.s.vol.Size, m.s.vol.Port = read.Size, read.Port // no write of the actor's
	l := m.s.vol.Ledger
	owed := l.Off
	l.Off = false
	m.settleNow(m.s.rowFor(l), l.Gen, m.s.rules.Quiet)
	st := m.s.settling
	st.toTell = []announcing{{Announcement{Kind: Repaired}, m.now}}
	// Hosts may have come back with the older row whom the right one would not have let in. Where
	// there can be none, nothing is bounced: the hosts of a box that has just come back are reconnecting.
	switch {
	case !st.row.Export || !read.Export:
	case read.NQN != st.row.NQN:
		st.bounceAgain(m.now) // who is to stay is not connected: it knows another NQN
	case owed || (st.row.AllowHost != "" && st.row.AllowHost != read.AllowHost):
		st.row.Ledger.Bounce = TokenAt(m.now)
		st.bounceAgain(m.bounceAfter(st.row.Ledger))
	}
}

// rowOf returns the part of a volume's row that grants and revokes write.
func rowOf(v Volume) Row {
	return Row{Export: v.Export, NQN: v.NQN, AllowHost: v.AllowHost, Ledger: v.Ledger}
}
