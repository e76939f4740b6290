// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import "slices"

// What the witness sees of the cluster. The exploration and the simulation share it.

// vanished notes what a live read saw: nobody asks for the node's grant any more. lost says why the node
// may be using the volume all the same.
func (w *witness) vanished(node NodeID, lost string) { w.leaving(Unpublish{Node: node, Lost: lost}) }

// migrating returns the fate of the migration that an actor knows of, if there is one.
func (w *witness) migrating(s State) *fate {
	mg, ok := s.open()
	if !ok {
		mg, ok = s.vol.Ledger.pending()
	}
	if !ok {
		return nil
	}
	return w.fate(mg.target.At)
}

// between returns the fate of the latest migration between two nodes, if there is one.
func (w *witness) between(source, target NodeID) *fate {
	for i := range slices.Backward(w.fates) {
		if w.fates[i].source == source && w.fates[i].target == target {
			return &w.fates[i]
		}
	}
	return nil
}

// hears notes what the living process hears of a migration from KubeVirt.
func (f *fate) hears(m Migration) {
	if m.Verdict == VerdictSucceeded || m.Verdict == VerdictFailed {
		f.final, f.heard = m.Verdict, true
	}
}

// older returns a row as the older driver left it: exported and without a ledger.
func older(row Volume) Volume {
	return Volume{ID: row.ID, Exists: true, Size: row.Size, Port: row.Port, Export: true, NQN: NQN(testPrefix, row.ID, 0)}
}

// inherits notes the nodes that have the volume by somebody else's doing.
func (w *witness) inherits(d *disk, nodes ...NodeID) {
	for _, node := range nodes {
		*w.seat(node) = seat{node: node, nqn: d.row.NQN, told: true, live: true}
	}
}
