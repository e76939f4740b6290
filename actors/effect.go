// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

// An Effect is what Step wants done. The types are sealed.
//
// ReadRow, GrantRow, RevokeRow and Run talk to the box: one of them is in flight at a time, and its result
// comes back as Done. Reply, Joined and Announce are carried out at once.
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
func (Reply) effect()     {}
func (Joined) effect()    {}
func (Announce) effect()  {}
