// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"fmt"
	"slices"
	"time"
)

// publish decides a request to grant the volume to a node.
func (m *machine) publish(r request) {
	if m.s.settling != nil {
		m.refuse(fmt.Errorf("attach volume %s: %s, retry later: %w", m.s.id, m.doubt(), ErrUnavailable))
		return
	}
	if err := m.s.ours(); err != nil {
		m.refuse(err)
		return
	}
	l := m.s.vol.Ledger
	if l.Granted(r.node) {
		m.republish(r)
		return
	}
	if err := m.exclude(r); err != nil {
		m.refuse(err)
		return
	}
	if !m.admit(r) {
		m.grant(r, l)
	}
}

// republish answers for a node that is granted already. It writes only if somebody else changed
// the row since.
func (m *machine) republish(r request) {
	l := m.s.vol.Ledger
	if l.Access != r.access {
		m.refuse(fmt.Errorf("volume %s is attached to node %s as %v, asked for was %v: %w", m.s.id, r.node, l.Access, r.access, ErrExists))
		return
	}
	if row := m.s.rowFor(l); !m.s.vol.shows(row) {
		m.grantRows(inflightGrant, r.leader(), row)
		return
	}
	m.reply(m.pop(), nil)
}

// exclude reports why the volume may not be granted to one more node. This is promise P1.
func (m *machine) exclude(r request) error {
	l := m.s.vol.Ledger
	if len(l.Grants) == 0 {
		return nil
	}
	holder := l.Grants[len(l.Grants)-1].Node
	var why string
	switch {
	case l.Access != r.access:
		why = fmt.Sprintf("it is attached to node %s as %v, asked for was %v; detach it there first", holder, l.Access, r.access)
	case r.access == AccessReader:
		return nil
	case r.access == AccessSingle:
		why = fmt.Sprintf("it is attached to node %s; delete the pod there to release it", holder)
	case len(l.Grants) >= 2:
		why = fmt.Sprintf("a migration from node %s to node %s is under way; wait for its end", l.Grants[0].Node, l.Grants[1].Node)
	default:
		return nil
	}
	m.conflict(r.node, holder)
	return fmt.Errorf("volume %s cannot be attached to node %s: %s: %w", m.s.id, r.node, why, ErrPrecondition)
}

// conflict tells that a node was refused, once while the same nodes hold the volume.
func (m *machine) conflict(node, holder NodeID) {
	if !slices.Contains(m.s.refused, node) {
		m.s.refused = append(m.s.refused, node)
		grants := m.s.vol.Ledger.Grants
		m.emit(Announce{Announcement{
			Kind: Conflict, Volume: m.s.id, At: m.now, Node: node, Holder: holder, Grant: grants[len(grants)-1].At,
		}})
	}
}

// grant writes the ledger with one more node.
func (m *machine) grant(r request, l Ledger) {
	// The box may have forgotten the grant of a node whose VM runs: it keeps the NQN that it knows.
	served := m.s.vol.Export && r.nqn != "" && r.nqn == m.s.vol.NQN
	if len(l.Grants) == 0 && l.Fencing != FencingNone && !served {
		l.Epoch = m.nextEpoch()
	}
	at := TokenAt(m.now)
	if n := len(l.Grants); n > 0 {
		at = max(at, l.Grants[n-1].At+1) // the order of grants is the order of their times
	}
	l.Access = r.access
	l.Grants = append(slices.Clone(l.Grants), Grant{Node: r.node, At: at})
	_, ended := m.end(m.s.vol.Ledger, l)
	l.Told, l.Left = "", ""

	m.s.toTell = append(ended, announcing{Announcement{Kind: Attached, Node: r.node}, r.since})
	if l.Access == AccessShared && len(l.Grants) == 2 {
		m.s.toTell = append(m.s.toTell, announcing{Announcement{
			Kind: MigrationStarted, Source: l.Grants[0].Node, Target: r.node, Grant: at,
			Timeout: time.Duration(l.Timeout) * time.Second,
		}, r.since})
	}
	rows := []Row{m.s.rowFor(l)}
	if before := m.s.rowFor(m.s.vol.Ledger); m.s.vol.Export && !before.Export && !served {
		// Nobody was granted it and yet it is served: whoever is connected goes first.
		rows = []Row{before, rows[0]}
	}
	m.grantRows(inflightGrant, r.leader(), rows...)
}

// doneGrant takes the box's answer to the grant of the first request.
func (m *machine) doneGrant(err error) {
	told := m.s.toTell
	m.s.toTell = nil
	row := m.s.sent.last()
	switch {
	case err == nil:
		m.acknowledged(row)
		m.s.word, m.s.asking, m.s.ruleBy, m.s.silentBy = word{}, backoff{}, time.Time{}, time.Time{} // of an earlier migration
		m.tell(told)
		m.reply(m.pop(), nil)
	case unknown(err):
		// Nobody was told that the node is granted, so it is not: what stood before is written again.
		m.settleNow(m.s.rowFor(m.s.vol.Ledger), row.Ledger.Gen, m.over())
		m.refuse(fmt.Errorf("grant volume %s: the box did not acknowledge it: %w", m.s.id, unresolved(err)))
	default:
		m.refuse(fmt.Errorf("grant volume %s: %w", m.s.id, err))
		m.forget()
	}
}
