// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import (
	"fmt"

	"github.com/rds-csi/rds-csi/actors"
)

// A Target says how a node reaches a volume's subsystem.
type Target struct {
	NQN     string // of the subsystem
	Address string // IP address or host name
	Port    uint16
	Host    actors.Host // under which identity the node connects

	// ReconnectDelay is the time between two attempts to reconnect, in seconds. Zero: the kernel's
	// default, 10.
	ReconnectDelay int
	// CtrlLossTimeout is how long the kernel goes on trying, in seconds. Negative: for ever. Zero:
	// the kernel does not try at all.
	CtrlLossTimeout int
	// KeepAlive is the keep-alive timeout in seconds. Zero: the kernel's default, 5.
	KeepAlive int
	// Size is the least number of bytes that the namespace must have. Zero: any.
	Size int64
	// ReadOnly makes the block device refuse writes on this node.
	ReadOnly bool
}

// A DevNum is a block device's number. It names a device where its path may not: the kernel gives
// names anew after a connection was lost.
type DevNum struct{ Major, Minor uint32 }

// String returns "major:minor", as the kernel writes it.
func (d DevNum) String() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

// A Device is the block device of a connected namespace.
type Device struct {
	Path     string // in the device directory, such as /dev/nvme0n1
	Num      DevNum
	Size     int64 // bytes
	ReadOnly bool  // refuses writes
}

// A Connection is what this node has of one subsystem: the sum of the controllers that carry its
// NQN.
type Connection struct {
	NQN   string
	Host  string // host NQN; of the controllers with different ones, the first
	State State
	// Device is the namespace's block device; its Path is empty while there is none, as when the
	// kernel gave the subsystem up, or the namespace was changed under it.
	Device Device
	// Ambiguous says that there is more than one block device, and that Device is merely the first.
	Ambiguous bool
}

// A State is the state of a connection.
type State string

// The states of a connection, best first: of several controllers the best counts.
const (
	StateLive       State = "live"
	StateConnecting State = "connecting" // also resetting and new: I/O waits
	StateDeleting   State = "deleting"
	StateDead       State = "dead"
	StateGone       State = "gone" // a subsystem without a controller, kept while somebody holds its device
)

// An Entry is what is found at a path of the file system.
type Entry struct {
	Kind    Kind
	Mounted bool // something is mounted at the path
	// Num is the block device's own number for KindBlock, else the number of the device whose
	// filesystem is mounted; zero where nothing is.
	Num DevNum
	// ReadOnly says that the mount is read-only, or that the device node's mode forbids writing.
	ReadOnly bool
	// Stale says that the device of Num is not there any more.
	Stale bool
	// Failed says why the filesystem that is mounted is not sound, in words that go on after "the
	// filesystem", as far as the kernel tells without being read from or written to. Empty: it tells of
	// nothing.
	Failed string
}

// A Kind is a kind of file.
type Kind int

// The kinds of file that matter to publishing.
const (
	KindNone  Kind = iota // the path does not exist
	KindDir               // a directory
	KindBlock             // a block device
	KindOther             // anything else
)

// A Filesystem says how a device is mounted.
type Filesystem struct {
	Type     string   // ext4 or xfs
	Flags    []string // mount options, as in the StorageClass
	ReadOnly bool

	// Begin is called before mkfs is. An error keeps it from being called. Nil: nothing happens.
	Begin func() error
	// Unfinished says that Begin was called for this device and that it was not mounted since, nor could anyone else
	// write to it: what is on it is what mkfs has left of nothing but zeros.
	Unfinished bool
}

// Usage is how full a filesystem is.
type Usage struct {
	Bytes, BytesFree, BytesUsed    int64 // BytesFree is what an ordinary user can still write
	Inodes, InodesFree, InodesUsed int64 // all zero where the filesystem does not limit them
}
