// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import "errors"

// The kinds of failure. Every error that leaves this package, or that a Box returns, wraps exactly
// one of them; the CSI edge turns the kind into a status code. The text says what to change.
var (
	// ErrInvalid: a value is malformed or out of range. Nothing was done.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound: the box was read and has no such volume, or the cluster has no such node.
	ErrNotFound = errors.New("not found")
	// ErrExists: the volume or the attachment exists with other properties than those asked for.
	ErrExists = errors.New("exists with other properties")
	// ErrPrecondition: the state of the volume, of its node or of its owner forbids the operation.
	ErrPrecondition = errors.New("precondition failed")
	// ErrOutOfRange: a size that the box cannot hold or that would shrink a volume.
	ErrOutOfRange = errors.New("out of range")
	// ErrFull: the pool has no room. Returned only after it was verified that nothing was left.
	ErrFull = errors.New("pool is full")
	// ErrBusy: too many operations wait for this volume, or one that excludes this one runs.
	ErrBusy = errors.New("operation pending")
	// ErrUnavailable: the box could not be asked, or refused for now. Nothing was changed.
	ErrUnavailable = errors.New("box unavailable")
	// ErrUnresolved: a write was sent and its answer was lost, so that it may have happened, may
	// still happen, or may never happen.
	ErrUnresolved = errors.New("outcome unknown")
)

// answers are the kinds that rule out that anything was done.
var answers = []error{ErrInvalid, ErrNotFound, ErrExists, ErrPrecondition, ErrOutOfRange, ErrFull, ErrBusy, ErrUnavailable}
