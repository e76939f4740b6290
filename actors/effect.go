// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

// An Effect is what Step wants done. The types are sealed.
//
// ReadRow, GrantRow, RevokeRow and Run talk to the box, and Confirm, Admit, Judge and Adopt to the
// orchestrator: one of all these is in flight at a time, and its result comes back as Done. Reply, Joined
// and Announce are carried out at once.
//
//sumtype:decl
type Effect interface{ effect() }

// ReadRow reads the volume's row.
type ReadRow struct{ For Waiter }

// GrantRow writes a row that gives a node a right.
type GrantRow struct {
	For   Waiter // whose request this serves, for the trace; zero: nobody's
	Write Write
}

// RevokeRow writes a row that gives no node a right it has not had before.
type RevokeRow struct {
	For   Waiter
	Write Write
}

// Run carries out an exclusive operation.
type Run struct {
	For Waiter
	Op  Operation
}

// Confirm asks whether a grant is stale.
type Confirm struct{ Node NodeID }

// Admit asks whether a shared volume may be granted to a second node.
type Admit struct {
	For            Waiter
	Holder, Target NodeID
	Policy         Policy
}

// Judge asks how KubeVirt's live migration between two nodes stands.
type Judge struct {
	For            Waiter
	Source, Target NodeID
}

// Adopt asks what the cluster knows of a volume whose row carries no ledger.
type Adopt struct{ For Waiter }

// Reply answers a request.
type Reply struct {
	Waiter Waiter
	Volume Volume
	Err    error
}

// Joined says that a request is a retry of another one and shares its answer.
type Joined struct{ Waiter, Leader Waiter }

// Announce tells the people who watch.
type Announce struct{ Announcement Announcement }

func (ReadRow) effect()   {}
func (GrantRow) effect()  {}
func (RevokeRow) effect() {}
func (Run) effect()       {}
func (Confirm) effect()   {}
func (Admit) effect()     {}
func (Judge) effect()     {}
func (Adopt) effect()     {}
func (Reply) effect()     {}
func (Joined) effect()    {}
func (Announce) effect()  {}
