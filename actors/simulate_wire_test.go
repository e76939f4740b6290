// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"time"
)

// NewSimulated makes the box of a schedule. Package actors_test sets it, which may import the packages that import this
// one.
var NewSimulated func(SimulatedConfig) (SimulatedBox, error)

// A SimulatedConfig says which box.
type SimulatedConfig struct {
	Seed           uint64 // of what goes wrong with commands
	Dir            string // that it may fill
	Cluster        string // whose driver asks
	CommandTimeout time.Duration
	Calm           func() bool  // nothing goes wrong any more
	Changed        func(Volume) // what a command has made of a row, before anybody is told; Exists false: removed
}

// A SimulatedBox is the simulated box, with the network before it.
type SimulatedBox interface {
	Put(Volume) error
	Connect() (SimulatedDriver, error)
	Away(until time.Time)
	Reboot(forgets time.Duration) error
	Rows() []Volume
	Commands() int
	Close() error
}

// A SimulatedDriver is what one driver process has of it. Operate does the work of an exclusive operation on a volume,
// which is given as it is made, or as it is.
type SimulatedDriver interface {
	Box
	Operate(context.Context, OpKind, Volume) (Volume, error)
	Close()
}
