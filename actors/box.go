// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import "context"

// A Box is the storage box as an actor needs it. Its methods are called from many goroutines. Each
// returns within the command deadline, wrapping one of this package's kinds of error.
type Box interface {
	// List returns every row that carries a ledger, of this cluster or another, from a listing that
	// began after the call.
	List(ctx context.Context) ([]Volume, error)
	// Read returns one volume's row from a listing that began after the call. A volume without a
	// row is no error: Exists is false. It is ErrUnavailable where the absence proves nothing, as
	// while the pool that held the volume is missing.
	Read(ctx context.Context, id VolumeID) (Volume, error)
	// Write changes a volume's row. A nil error means that the box acknowledged it. ErrUnavailable:
	// nothing was sent. ErrUnresolved: sent, not acknowledged, may land at any later time.
	// Any other error: the box refused, and a read-back showed the row unchanged.
	Write(ctx context.Context, w Write) error
}

// A Row is the part of a volume's disk row that grants and revokes write, always whole.
type Row struct {
	Export    bool
	NQN       string
	AllowHost string // empty: any host
	Ledger    Ledger
}

// A Write is one change of a volume's row: one command, or two that are sent together, and a third behind them.
type Write struct {
	Volume VolumeID
	// Rows are written in order. There are two where the export must go off before it is on: in a
	// bounce, and when it was on without a grant. The second is sent without waiting for the answer
	// to the first. A bounce has a third, which is sent once both are acknowledged.
	Rows []Row
	// Guard is the Ledger.Gen that the row shows before the write, where the transport can compare
	// it on the box.
	Guard uint64
	// From is the cluster whose ledger this replaces, where a person had the volume taken over. The row
	// must show that cluster's ledger with the gen Guard. Empty: the row is this cluster's already, or
	// carries no ledger.
	From string
	// Revoke marks a write that takes a right away. It goes through the sessions that are reserved
	// for revokes and reads.
	Revoke bool
}

// A Spec says what volume to create.
type Spec struct {
	ID         VolumeID
	Size       int64  // exact bytes, a multiple of 512
	VolumePath string // directory on the box: leading slash, no trailing one
	NQN        string // <prefix>:<volume>, as of the Ledger
	Ports      Ports  // one is chosen that no other row uses, if there is one
	Ledger     Ledger // the first, Gen 1, without grants; the box adds the port
}

// Ports is an inclusive range of TCP ports, from 1024 to 65535.
type Ports struct{ First, Last uint16 }

// Capacity is the state of the pool that holds a volume path, in bytes.
type Capacity struct {
	Total int64
	Free  int64
}

// Nodes answers, by live reads, what the actors must know of a node. Its methods return within a
// few seconds and are called outside of any actor.
type Nodes interface {
	// Check returns nil where the volume may be granted to the node, ErrNotFound where the cluster
	// has no such node, ErrPrecondition where the node is fenced, and ErrUnavailable where that
	// cannot be told. attached is the subsystem NQN under which the node was told to use the volume
	// before, as its VolumeAttachment's metadata says; empty where it does not.
	Check(ctx context.Context, id VolumeID, node NodeID) (attached string, err error)
	// Lost says why the node may still be using the volume although its detach is asked for: it is
	// gone, not ready, out of service, lists the volume in use, or could not be read. The empty
	// string means that the node confirmed the detach.
	Lost(ctx context.Context, id VolumeID, node NodeID) string
}
