// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import "slices"

// suspected notes the grants that seem to be left over. What was suspected before and is not any more has
// been cleared up.
func (m *machine) suspected(nodes []NodeID) {
	m.s.suspects = slices.Clone(nodes)
	m.s.look = m.s.look || !m.s.known
}

// confirm asks whether the first suspected grant is stale, and reports whether it began that. Nothing
// else happens to the volume until the answer has been acted upon: a publish that comes meanwhile is
// served after the revoke, and grants anew.
func (m *machine) confirm() bool {
	m.s.suspects = slices.DeleteFunc(m.s.suspects, func(n NodeID) bool { return !m.s.vol.Ledger.Granted(n) })
	if len(m.s.suspects) == 0 || m.s.ours() != nil {
		m.s.suspects = nil
		return false
	}
	if m.stale() {
		m.forget()
		return true
	}
	m.s.confirming, m.s.suspects = m.s.suspects[0], m.s.suspects[1:]
	m.start(inflightConfirm, Confirm{Node: m.s.confirming})
	return true
}

// doneConfirm takes the cluster's answer. A grant that is stale is revoked before anything else is done;
// one that is not, or of which that cannot be told, stays until it is suspected again.
func (m *machine) doneConfirm(ev Done) {
	if ev.Err != nil {
		return
	}
	r := request{kind: unpublishing, node: m.s.confirming, lost: ev.Lost, stale: true, since: m.now}
	m.s.queue = slices.Insert(m.s.queue, 0, r)
}
