// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import (
	"context"
	"errors"
	"net/netip"

	"github.com/rds-csi/rds-csi/actors"
)

// A Prober asks a target from user space what the kernel does not say, or says only after a minute
// in which no other volume of the node can be connected. Its calls end with their context. An
// address is host:port.
type Prober interface {
	// Answers reports whether an NVMe/TCP target answers, and where it was found. It does not make the
	// target do anything that an existing connection could notice.
	Answers(ctx context.Context, address string) (netip.AddrPort, error)
	// Admits reports why a target would refuse a connection: ErrHostRefused, ErrNotExported, or an
	// error that says that it cannot be told. It connects as the host, so it is asked only while the
	// host has no connection to the subsystem.
	Admits(ctx context.Context, address string, h actors.Host, nqn string) error
	// Lists returns the NQNs of the subsystems in the discovery log that a target shows a host: those that
	// the host may connect to. It connects to the discovery subsystem, and to no other.
	Lists(ctx context.Context, address, hostNQN string) ([]string, error)
}

// What Prober.Admits finds.
var (
	ErrHostRefused = errors.New("the target does not allow this host")
	ErrNotExported = errors.New("the target does not export the subsystem")
)
