// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import "slices"

// rowFor derives the row that a ledger calls for. The volume's NQN prefix is that of its row; its
// port does not change.
func (s State) rowFor(l Ledger) Row {
	prefix, _ := NQNPrefix(s.vol.NQN, s.id)
	row := Row{Ledger: l, NQN: NQN(prefix, s.id, l.Epoch)}
	row.Export = (len(l.Grants) > 0 || l.Fencing == FencingNone) && !l.Off
	// A row may hide both while its export is off.
	row.Ledger.Port, row.Ledger.Prefix = s.vol.Port, prefix
	switch {
	case prefix == DefaultNQNPrefix:
		row.Ledger.Prefix = ""
	case row.Export && (len(l.Grants) > 1 || l.Left != ""):
		row.Ledger.Prefix = prefixShown // the nodes' names need the room
	}
	if l.Fencing == FencingHost && len(l.Grants) == 1 {
		row.AllowHost = HostOf(s.rules.Cluster, l.Grants[0].Node).NQN
	}
	return row
}

// shows reports whether the volume's row is the given one. A ledger without a port, which is no reason
// to write it again, shows any.
func (v Volume) shows(row Row) bool {
	if v.Ledger.Port == 0 {
		row.Ledger.Port = 0
	}
	return v.Exists && v.Ours && v.Export == row.Export && v.NQN == row.NQN && v.AllowHost == row.AllowHost &&
		v.Ledger.String() == row.Ledger.String()
}

// nextEpoch returns an epoch that was never sent for this volume.
func (m *machine) nextEpoch() Token {
	return max(TokenAt(m.now), m.s.vol.Ledger.Epoch+1, m.s.epoch+1)
}

// grantRows sends the command that gives a node a right.
func (m *machine) grantRows(what inflight, leader Waiter, rows ...Row) {
	m.s.sent = m.write(false, rows)
	m.start(what, GrantRow{For: leader, Write: m.s.sent})
}

// revokeRows sends a command that gives no node a right it has not had.
func (m *machine) revokeRows(what inflight, leader Waiter, rows ...Row) {
	m.s.sent = m.write(true, rows)
	m.start(what, RevokeRow{For: leader, Write: m.s.sent})
}

// write makes the command that changes the row to the given ones, in order. It gives each its gen.
func (m *machine) write(revoke bool, rows []Row) Write {
	gen := m.s.vol.Ledger.Gen
	w := Write{Volume: m.s.id, Guard: gen, Revoke: revoke}
	if l := m.s.vol.Ledger; m.s.vol.Ours && l.Cluster != rows[0].Ledger.Cluster {
		w.From = l.Cluster // taken over
	}
	if m.s.settling != nil {
		gen = max(gen, m.s.settling.gen)
	}
	for _, row := range rows {
		gen++
		row.Ledger.Grants = slices.Clone(row.Ledger.Grants) // the effect is out of Step's hands
		row.Ledger.Gen = gen
		m.s.epoch = max(m.s.epoch, row.Ledger.Epoch)
		w.Rows = append(w.Rows, row)
	}
	return w
}

// bounced returns the rows that take the export off and turn it on again as l calls for. The box may refuse
// the first and carry out the second, which leaves a lost node connected: the second still owes the bounce,
// and a third says that it is over.
func (m *machine) bounced(l Ledger) []Row {
	l.Bounce, l.Off = TokenAt(m.now), true
	off := m.s.rowFor(l)
	l.Off = false
	over := m.s.rowFor(l)
	on := over
	on.Ledger.Off = true
	return []Row{off, on, over}
}

// last returns the row that a write leaves behind.
func (w Write) last() Row { return w.Rows[len(w.Rows)-1] }
