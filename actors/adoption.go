// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"cmp"
	"fmt"
	"slices"
)

// adoptable reports whether the volume's row is one of the older driver's, which carries no ledger, and
// there is a cluster to ask about it.
func (s State) adoptable() bool {
	_, named := NQNPrefix(s.vol.NQN, s.id)
	return s.rules.Orchestrated && s.vol.Exists && !s.vol.Ours && named && s.settling == nil
}

// adoption asks what the cluster knows of a row without a ledger, for the first request.
func (m *machine) adoption(r request) { m.start(inflightAdopt, Adopt{For: r.leader()}) }

// doneAdopt gives the row its first ledger: whoever is attached stays so, under the NQN that is there.
// Where nobody is, the export goes off, so that nobody uses the volume whom nobody knows of.
func (m *machine) doneAdopt(ev Done) {
	if ev.Err != nil {
		m.refuse(fmt.Errorf("adopt volume %s: %w", m.s.id, untold(ev.Err)))
		return
	}
	l := m.firstLedger(ev.Adoption)
	if m.s.vol.Ours {
		var err error
		if l, err = m.takenLedger(ev.Adoption); err != nil {
			m.refuse(fmt.Errorf("adopt volume %s of cluster %s: %w", m.s.id, m.s.vol.Ledger.Cluster, err))
			return
		}
	}
	if err := l.check(); err != nil {
		m.refuse(fmt.Errorf("adopt volume %s: its VolumeAttachments make %w: %w", m.s.id, err, ErrPrecondition))
		return
	}
	row := m.s.rowFor(l)
	if row.NQN != m.s.vol.NQN {
		m.refuse(fmt.Errorf("adopt volume %s: a ledger would turn its NQN %q into %q under whoever is connected, set that yourself when nobody is: %w",
			m.s.id, m.s.vol.NQN, row.NQN, ErrPrecondition))
		return
	}
	m.revokeRows(inflightAdopted, m.s.queue[0].leader(), row)
}

// firstLedger returns the ledger of a row that has none.
func (m *machine) firstLedger(a Adoption) Ledger {
	prefix, _ := NQNPrefix(m.s.vol.NQN, m.s.id)
	l := Ledger{
		Cluster: m.s.rules.Cluster, Fencing: cmp.Or(a.Fencing, FencingEpoch), Timeout: a.Timeout, Port: m.s.vol.Port, Prefix: prefix,
		Gen: 1, Epoch: epochOf(m.s.vol.NQN, m.s.id), Grants: oneByOne(a.Grants),
	}
	if prefix == DefaultNQNPrefix {
		l.Prefix = ""
	}
	if len(a.Grants) > 0 {
		l.Access = a.Access
	}
	return l
}

// oneByOne gives grants that have one time, as VolumeAttachments of one second have, times that tell their
// order: a migration goes by it.
func oneByOne(grants []Grant) []Grant {
	grants = slices.Clone(grants)
	for i := range grants {
		if i > 0 {
			grants[i].At = max(grants[i].At, grants[i-1].At+1)
		}
	}
	return grants
}

// doneAdopted takes the box's answer to the first ledger.
func (m *machine) doneAdopted(err error) {
	switch {
	case err == nil:
		m.acknowledged(m.s.sent.last())
		m.emit(Announce{Announcement{Kind: Adopted, Volume: m.s.id, At: m.now}})
	case unknown(err):
		// The row is looked at again when the write's time is over, and adopted or not by what it shows.
		m.refuse(fmt.Errorf("adopt volume %s: the box did not acknowledge it: %w", m.s.id, unresolved(err)))
		m.settleLater()
	default:
		m.refuse(fmt.Errorf("adopt volume %s: %w", m.s.id, err))
		m.forget()
	}
}
