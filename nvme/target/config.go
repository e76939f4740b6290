// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"log/slog"
	"math/bits"
	"time"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// Storage holds the data of a namespace. Its methods are called by several goroutines at a time.
// An error that wraps syscall.ENOSPC becomes Capacity Exceeded, any other one a media error.
type Storage interface {
	// ReadAt reads len(p) bytes, as in io.ReaderAt.
	ReadAt(p []byte, off int64) (int, error)
	// WriteAt writes len(p) bytes, as in io.WriterAt.
	WriteAt(p []byte, off int64) (int, error)
	// Sync makes every write that has returned durable.
	Sync() error
	// Size returns the size in bytes. It may change; what is beyond the last whole block is not
	// used. It is called for every command, under no lock.
	Size() int64
}

// A Zeroer is a Storage that makes n bytes read as zeroes without being sent them. Without it, or if
// it returns errors.ErrUnsupported, zeroes are written.
type Zeroer interface {
	Zero(off, n int64) error
}

// A Discarder is a Storage that frees n bytes, which then read as zeroes or as they were. Without it,
// or if it returns errors.ErrUnsupported, a deallocation does nothing.
type Discarder interface {
	Discard(off, n int64) error
}

// BlockSize is the logical block size of every namespace in bytes.
const BlockSize = 1 << blockShift

const blockShift = 9

// A Subsystem is an NVM subsystem with one namespace, NSID 1.
type Subsystem struct {
	NQN     string
	Storage Storage
	Hosts   []string  // host NQNs that may connect; nil: any, empty: none
	UUID    uuid.UUID // of the namespace; zero: derived from the NQN
	Serial  string    // at most 20 ASCII characters; empty: derived from the UUID
}

// A Config says how a Target behaves. Its zero value is that of a RouterOS box; numbers that are out
// of range are brought into it.
type Config struct {
	// Model and Firmware are what Identify Controller tells. Empty: "Linux" and "5.6.3".
	Model    string
	Firmware string

	QueueSize  int // entries of a queue, 32 to 4096; 0: 128
	IOQueues   int // of a controller, 1 to 128; 0: 8
	Workers    int // of an I/O queue: calls into the Storage at a time, 1 to 64; 0: 4
	MaxData    int // bytes of one command, 4 KiB to 16 MiB, rounded up to a power of two; 0: 1 MiB
	MaxH2CData int // bytes of one H2CData PDU, 4 KiB to 16 MiB; 0: 256 KiB
	InCapsule  int // bytes of data in an I/O command capsule, 0 to 8 KiB in steps of 16; 0: 8 KiB, negative: none
	// BufferBytes is the data that one connection may have on its way; at least MaxData. 0: 8 MiB.
	BufferBytes int
	// MaxConnections is how many connections may be open; one more is closed at accept. 0: 1024.
	MaxConnections int
	// HandshakeTimeout is how long a connection may take up to its Connect command. 0: 10 s.
	HandshakeTimeout time.Duration

	// RetryRefusals leaves the do-not-retry bit off a refused Connect. nvmet sets it, and a kernel
	// from 6.10 or so then gives its controller up.
	RetryRefusals bool

	// Fault is asked what goes wrong with a command, before it is carried out. It is called by many goroutines and must
	// not block. Nil: nothing goes wrong.
	Fault func(Request) Fault

	// OnWrite is called after each change of a Storage, whether it succeeded or not, and before the
	// host is told: a write, zeroes or a deallocation of n bytes at off. Nil: none.
	OnWrite func(subsystemNQN, hostNQN string, off, n int64)
	// OnConnect and OnDisconnect are called when a controller begins and when it has ended. Nil: none.
	OnConnect    func(ControllerInfo)
	OnDisconnect func(ControllerInfo)

	Logger *slog.Logger // nil: none
}

// adminInCapsule is the in-capsule data of the admin queue in bytes (Transport 1.0, 3.3.1.1).
const adminInCapsule = 8 << 10

const pageShift = 12

func (c Config) withDefaults() Config {
	if c.Model == "" {
		c.Model = "Linux"
	}
	if c.Firmware == "" {
		c.Firmware = "5.6.3"
	}
	c.QueueSize = within(c.QueueSize, 128, 32, 4096)
	c.IOQueues = within(c.IOQueues, 8, 1, 128)
	c.Workers = within(c.Workers, 4, 1, 64)
	c.MaxData = 1 << bits.Len(uint(within(c.MaxData, 1<<20, 1<<pageShift, 16<<20)-1))
	c.MaxH2CData = within(c.MaxH2CData, 256<<10, tcp.MinMaxH2CData, 16<<20)
	if c.InCapsule < 0 {
		c.InCapsule = 0
	} else {
		c.InCapsule = within(c.InCapsule, adminInCapsule, 16, adminInCapsule) &^ 15
	}
	c.BufferBytes = within(c.BufferBytes, 8<<20, c.MaxData, 1<<30)
	c.MaxConnections = within(c.MaxConnections, 1024, 1, 1<<20)
	if c.HandshakeTimeout <= 0 {
		c.HandshakeTimeout = 10 * time.Second
	}
	if c.Fault == nil {
		c.Fault = func(Request) Fault { return Fault{} }
	}
	if c.OnWrite == nil {
		c.OnWrite = func(string, string, int64, int64) {}
	}
	if c.OnConnect == nil {
		c.OnConnect = func(ControllerInfo) {}
	}
	if c.OnDisconnect == nil {
		c.OnDisconnect = func(ControllerInfo) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// within returns v, or zero's value for 0, brought between low and high.
func within(v, zero, low, high int) int {
	if v == 0 {
		v = zero
	}
	return min(max(v, low), high)
}

// mdts is the maximum data transfer size as a power of two in pages.
func (c Config) mdts() uint8 { return uint8(bits.Len(uint(c.MaxData)) - 1 - pageShift) }

// refusal is the status of a refused Connect.
func (c Config) refusal(s tcp.Status) tcp.Status {
	if c.RetryRefusals {
		return s
	}
	return s | tcp.DNR
}
