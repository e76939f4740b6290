// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"fmt"
	"slices"
)

// takeOver decides a person's request that the volume become this cluster's. What is written is what the
// person was shown: a row that has changed since is looked at again first.
func (m *machine) takeOver(r request) {
	v := m.s.vol
	_, named := NQNPrefix(v.NQN, m.s.id)
	ours := m.s.ours()
	switch {
	case m.s.settling != nil:
		m.refuse(fmt.Errorf("adopt volume %s: an earlier write to the box is unresolved, retry later: %w", m.s.id, ErrUnavailable))
	case ours == nil:
		m.reply(m.pop(), nil)
	case v.Exists && !named:
		m.refuse(fmt.Errorf("adopt volume %s: its NQN %q does not name it, set it to <prefix>:%s: %w", m.s.id, v.NQN, m.s.id, ErrPrecondition))
	case !v.Exists || v.Ledger.Cluster == m.s.rules.Cluster:
		m.refuse(fmt.Errorf("adopt volume %s: %w", m.s.id, ours))
	case v.Ledger.Cluster != r.from || v.Ledger.Gen != r.gen:
		m.refuse(fmt.Errorf("adopt volume %s: its row has changed meanwhile (cluster %q, write %d), so that somebody uses it: look again: %w",
			m.s.id, v.Ledger.Cluster, v.Ledger.Gen, ErrPrecondition))
	case len(v.Ledger.Grants) > 0 && !r.force:
		m.refuse(fmt.Errorf("adopt volume %s: cluster %s grants it to node %s, detach it there first: %w",
			m.s.id, v.Ledger.Cluster, v.Ledger.Grants[0].Node, ErrPrecondition))
	default:
		m.adoption(r)
	}
}

// takenLedger returns the ledger of a volume that is taken over from another cluster. Nodes that have it
// by that cluster's ledger and by this cluster's VolumeAttachments keep it, as when the same cluster has
// got another identity. All others lose it.
func (m *machine) takenLedger(a Adoption) (Ledger, error) {
	l := m.s.vol.Ledger
	before := len(l.Grants)
	l.Grants = slices.DeleteFunc(slices.Clone(l.Grants), func(g Grant) bool {
		return !slices.ContainsFunc(a.Grants, func(b Grant) bool { return b.Node == g.Node })
	})
	l.Cluster, l.Timeout, l.Off = m.s.rules.Cluster, a.Timeout, false
	switch kept := len(l.Grants); {
	case kept == 0:
		l.Grants, l.Access = nil, AccessNone
	case kept < before:
		return Ledger{}, fmt.Errorf("it is granted to %d nodes, of which this cluster attaches %d: fence the others there first: %w",
			before, kept, ErrPrecondition)
	case l.Access != a.Access:
		return Ledger{}, fmt.Errorf("its nodes have it as %v, and its PersistentVolume is %v: detach it first: %w", l.Access, a.Access, ErrPrecondition)
	case l.Fencing == FencingHost:
		return Ledger{}, fmt.Errorf("node %s is connected under the identity that it has in that cluster, under which it would be refused: detach it first: %w",
			l.Grants[0].Node, ErrPrecondition)
	}
	if len(l.Grants) < 2 {
		l.Told, l.Left = "", "" // outcomes of migrations there are that cluster's to tell
	}
	return l, nil
}
