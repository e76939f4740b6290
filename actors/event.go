// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

// An Event is what may happen to a volume. The types are sealed.
//
//sumtype:decl
type Event interface{ event() }

// A Waiter is the ticket of one request. It gets exactly one Reply. Zero is nobody.
type Waiter uint64

// Publish asks that a node be granted the volume.
type Publish struct {
	Waiter Waiter
	Node   NodeID
	Access Access
}

// Unpublish asks that a node's grant be revoked.
type Unpublish struct {
	Waiter Waiter
	Node   NodeID // empty: every node
	// Lost says why the node may still be using the volume; empty where it confirmed the detach.
	Lost string
}

// Exclusive asks for an operation on the volume's disk.
type Exclusive struct {
	Waiter Waiter
	Op     Operation
}

// Observed says that the box or the cluster may have changed: the row is to be read again.
type Observed struct{}

// Done is the result of the effect in flight.
type Done struct {
	Volume Volume // of ReadRow and Run
	Err    error
}

// Tick says that the time State.Deadline has come.
type Tick struct{}

func (Publish) event()   {}
func (Unpublish) event() {}
func (Exclusive) event() {}
func (Observed) event()  {}
func (Done) event()      {}
func (Tick) event()      {}
