// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"fmt"
	"slices"
	"time"
)

// unpublish decides a request to take the volume away from a node, or from all.
func (m *machine) unpublish(r request) {
	if m.s.settling == nil && !m.s.vol.Exists {
		m.reply(m.pop(), nil) // a volume that is gone is attached nowhere
		return
	}
	if m.s.settling != nil {
		m.hold(m.pop())
		return
	}
	if err := m.s.ours(); err != nil {
		m.refuse(err)
		return
	}
	l := m.s.vol.Ledger.without(r.node)
	if len(l.Grants) == len(m.s.vol.Ledger.Grants) && m.s.vol.shows(m.s.rowFor(l)) {
		m.reply(m.pop(), nil)
		return
	}
	if m.judge(r, l) {
		return
	}
	l, told := m.end(m.s.vol.Ledger, l)
	rows, err := m.revocation(r, l)
	if err != nil {
		m.refuse(err)
		return
	}
	m.s.toTell = append(departures(r, l, m.s.vol.Ledger), told...)
	m.revokeRows(inflightRevoke, r.leader(), rows...)
}

// revocation returns the rows that take the nodes away which are missing from l: one, or the two
// of a bounce.
func (m *machine) revocation(r request, l Ledger) ([]Row, error) {
	before := m.s.vol.Ledger
	if !bounces(before, l, r.lost) {
		return []Row{m.s.rowFor(l)}, nil
	}
	// A lost node's live connection ends only if the export does. It comes back at once for the
	// survivor, which reconnects after its reconnect delay; the lost node is no longer allowed.
	if at := m.bounceAfter(before); m.now.Before(at) {
		return nil, fmt.Errorf("fence node %s (%s) off volume %s: the export was bounced at %s and node %s may still be reconnecting, retry in %v: %w",
			r.node, r.lost, m.s.id, before.Bounce.Time().UTC().Format(time.RFC3339), l.Grants[0].Node, at.Sub(m.now).Round(time.Second), ErrUnavailable)
	}
	return m.bounced(l), nil
}

// bounces reports whether the export must be bounced to fence the nodes that after lacks: a node
// that is lost keeps its connection while another one keeps the export on.
func bounces(before, after Ledger, lost string) bool {
	return after.Fencing == FencingHost && lost != "" && len(after.Grants) == 1 && len(before.Grants) > 1
}

// departures returns what is to be told once the nodes that after lacks are detached for a request.
func departures(r request, after, before Ledger) []announcing {
	kind := Detached
	if r.stale {
		kind = StaleCleared
	}
	var out []announcing
	for _, g := range before.Grants {
		if !after.Granted(g.Node) {
			out = append(out, announcing{Announcement{Kind: kind, Node: g.Node}, r.since})
		}
	}
	return out
}

// without returns the ledger with a node's grant taken out, or with every grant where node is
// empty.
func (l Ledger) without(node NodeID) Ledger {
	l.Grants = slices.DeleteFunc(slices.Clone(l.Grants), func(g Grant) bool { return node == "" || g.Node == node })
	if len(l.Grants) == 0 {
		l.Grants, l.Access = nil, AccessNone
	}
	return l
}

// doneRevoke takes the box's answer to the revoke of the first request.
func (m *machine) doneRevoke(err error) {
	told := m.s.toTell
	m.s.toTell = nil
	row := m.s.sent.last()
	switch {
	case err == nil:
		m.acknowledged(row)
		m.tell(told)
		m.reply(m.pop(), nil)
	case unknown(err):
		// The node was asked off, so it is written off until the box is seen to agree.
		bounce := len(m.s.sent.Rows) > 1
		m.settleNow(row, row.Ledger.Gen, m.over())
		m.s.settling.toTell = told
		if bounce {
			m.s.settling.bounceAgain(m.now.Add(m.s.rules.BounceGap))
		}
		m.refuse(fmt.Errorf("revoke volume %s: the box did not acknowledge it: %w", m.s.id, unresolved(err)))
	default:
		m.refuse(fmt.Errorf("revoke volume %s: %w", m.s.id, err))
		m.forget()
	}
}
