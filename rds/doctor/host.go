// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// An Initiator connects to exports over NVMe/TCP, as a node would.
type Initiator interface {
	// Probe reports whether something that speaks NVMe/TCP answers at an address, host:port. It sends no
	// command. A port that refuses wraps syscall.ECONNREFUSED.
	Probe(ctx context.Context, address string) error
	// Connect connects a host. A refusal wraps a *Refused. Of a connection that ends later no other is made.
	Connect(ctx context.Context, t Target) (Host, error)
}

// A Target is an export, and who connects to it.
type Target struct {
	Address string // host:port
	NQN     string
	HostNQN string
	HostID  uuid.UUID
	// Lost is called once when the target ends the connection. Changed is called when the target has told that
	// the disk is another, with what it is now. They must not block.
	Lost    func()
	Changed func(Disk)
}

// A Host is a connection to an export. I/O on one that was lost waits for its context.
type Host interface {
	ReadAt(ctx context.Context, p []byte, off int64) error
	WriteAt(ctx context.Context, p []byte, off int64) error
	// Disk asks the target what the disk is.
	Disk(ctx context.Context) (Disk, error)
	Close() error
}

// A Disk is what a host sees of one.
type Disk struct {
	Size     int64 // bytes
	UUID     uuid.UUID
	NGUID    [16]byte
	Model    string
	Firmware string
	Events   bool // the target says that it tells changes
}

// Refused is a connect that the target refused.
type Refused struct {
	Status string // in words
	Code   uint16 // type and code
	DNR    bool   // "do not retry"
}

// Error returns the status.
func (r *Refused) Error() string { return r.Status }

// retries returns "retry" or "do not retry", and false unless err is a refusal.
func retries(err error) (retry, ok bool) {
	var r *Refused
	if !errors.As(err, &r) {
		return false, false
	}
	return !r.DNR, true
}

// identity is what a kernel knows a disk by.
func (d Disk) identity() string { return fmt.Sprintf("UUID %v, NGUID %x", d.UUID, d.NGUID) }
