// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

var (
	// ErrConfig is a Config that is incomplete or out of range. Nothing was done.
	ErrConfig = errors.New("invalid configuration")
	// ErrClosed is what I/O gets after Close.
	ErrClosed = errors.New("controller closed")
	// ErrGone says that the controller was given up, after "do not retry" or after its loss timeout.
	// The error also wraps the last attempt's.
	ErrGone = errors.New("controller gone")
	// ErrNoNamespace says that the controller is live without the namespace: the subsystem has none,
	// or its identity is not the one it had, so that it is another disk.
	ErrNoNamespace = errors.New("no such namespace")
	// ErrRange is an offset or a length that is not a multiple of the block size, negative, or beyond
	// the end of the namespace.
	ErrRange = errors.New("outside the namespace or not block-aligned")
	// ErrProtocol says that the peer broke the protocol, or lacks what this initiator needs.
	ErrProtocol = errors.New("nvme/tcp protocol violation")

	// errLost: the connection ended before the command was answered. It does not leave the package
	// for I/O, which is issued again.
	errLost = errors.New("connection lost")
	// errTimeout: the target did not answer in time.
	errTimeout = errors.New("no answer in time")
)

// A StatusError is a command that the controller completed with a status other than success.
type StatusError struct {
	Op   string // the command, as "read" or "connect queue 1"
	Code uint16 // type and status code: one of the tcp.Status constants, as 0x182
	DNR  bool   // "do not retry" was set
}

// Error names the command and the status.
func (e *StatusError) Error() string {
	status := tcp.Status(e.Code)
	if e.DNR {
		status |= tcp.DNR
	}
	return fmt.Sprintf("%s: %v", e.Op, status)
}
