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
	// Policy says which second node a shared volume admits.
	Policy Policy
	// Attached is the NQN under which the node was told to use the volume before, if it was.
	Attached string
}

// Unpublish asks that a node's grant be revoked.
type Unpublish struct {
	Waiter Waiter
	Node   NodeID // empty: every node
	// Lost says why the node may still be using the volume; empty where it confirmed the detach.
	Lost string
	// Stale says that the grant was left over: nobody wants the volume on the node.
	Stale bool
}

// TakeOver asks that a volume become this cluster's which is another cluster's, or the older driver's.
type TakeOver struct {
	Waiter Waiter
	// From and Gen are those of the ledger that is to be replaced: a person was shown it. They are empty
	// and 0 where the row carries none.
	From string
	Gen  uint64
	// Force takes it over although that ledger grants it to nodes.
	Force bool
}

// Exclusive asks for an operation on the volume's disk.
type Exclusive struct {
	Waiter Waiter
	Op     Operation
}

// Observed says that the box may have changed: the row is to be read again.
type Observed struct{}

// Suspected names the grants for which no VolumeAttachment is to be seen. Caches lag: nothing is
// revoked before the cluster has confirmed it.
type Suspected struct{ Nodes []NodeID }

// Outcome says how KubeVirt's live migration of the volume stands.
type Outcome struct{ Migration Migration }

// Done is the result of the effect in flight.
type Done struct {
	Volume    Volume    // of ReadRow and Run
	Lost      string    // of Confirm
	Migration Migration // of Judge
	Adoption  Adoption  // of Adopt
	Err       error
}

// Tick says that the time State.Deadline has come.
type Tick struct{}

func (Publish) event()   {}
func (Unpublish) event() {}
func (TakeOver) event()  {}
func (Exclusive) event() {}
func (Observed) event()  {}
func (Suspected) event() {}
func (Outcome) event()   {}
func (Done) event()      {}
func (Tick) event()      {}
