// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import "fmt"

// Fencing is how far a revoke keeps a node's writes away from the volume. It is chosen in the
// StorageClass, parameter "fencing", and stands in the ledger, because a revoke must know it when
// nobody can be asked any more.
type Fencing byte

// The fencing modes. The letters stand in the ledger.
const (
	// FencingEpoch exports a volume under a new NQN from its first grant to its last revoke. What
	// is left of an earlier attachment finds its NQN gone. It fences at the last revoke only.
	FencingEpoch Fencing = 'e'
	// FencingHost also names the one attached host in the export's allow list, and bounces the
	// export when one of two nodes is lost.
	FencingHost Fencing = 'h'
	// FencingNone leaves the export on under one NQN and only keeps the ledger.
	FencingNone Fencing = 'n'
)

// ParseFencing returns the mode that a StorageClass names: "epoch", "host", "none", or "" for the
// default, epoch. Anything else is ErrInvalid.
func ParseFencing(s string) (Fencing, error) {
	switch s {
	case "", "epoch":
		return FencingEpoch, nil
	case "host":
		return FencingHost, nil
	case "none":
		return FencingNone, nil
	}
	return 0, fmt.Errorf("fencing %.32q is not one of epoch, host, none: %w", s, ErrInvalid)
}

// String returns the mode's name in a StorageClass.
func (f Fencing) String() string {
	switch f {
	case FencingEpoch:
		return "epoch"
	case FencingHost:
		return "host"
	case FencingNone:
		return "none"
	}
	return fmt.Sprintf("Fencing(%d)", byte(f))
}
