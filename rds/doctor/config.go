// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/rds-csi/rds-csi/rds"
)

// A Config says which box to examine, and how.
type Config struct {
	// Box is how the driver would speak to the box. Address, an account, the volume paths and what the
	// transport needs must be set; Cluster may be empty, which takes every ledger for one of ours.
	Box rds.Config
	// Also is the other transport, if it is to be examined, too. Nil: it is not.
	Also *rds.Config
	// NVMeAddress is the address at which hosts connect to exports, without a port.
	NVMeAddress string
	// Initiator connects to exports from this machine.
	Initiator Initiator
	// CountSessions opens sessions until the box refuses one, and closes them again.
	CountSessions bool
	// Version of the driver, for the report.
	Version string
	// Now is the clock of the report. Nil: time.Now.
	Now func() time.Time
	// Progress is told what is about to be asked. Nil: nobody.
	Progress func(what string)
}

// An ExperimentConfig says how far Experiment may go.
type ExperimentConfig struct {
	// FirstPort and LastPort bound the ports of scratch exports, which nobody else may use. Zero: 4420 and 8515.
	FirstPort, LastPort uint16
	// Size of a scratch disk in bytes, a multiple of 1 MiB. Zero: 64 MiB. There are at most three at a time.
	Size int64
	// Patience is how long something that may happen is waited for before it is said not to. Zero: 3 s.
	Patience time.Duration
	// Startup is how long an export may take to begin. Zero: 15 s.
	Startup time.Duration
	// Fill asks for a file larger than the pool, too. A box that sets room aside by writing would fill the pool.
	Fill bool
	// Only are the questions to ask, by name. Empty: all.
	Only []string
	// Confirm asks a person whether to go on. Nil: nobody is asked.
	Confirm func(plan string) bool
}

// ErrConfig is a Config that cannot be used. The error says what to change.
var ErrConfig = errors.New("cannot be used")

func (c Config) complete() (Config, error) {
	switch {
	case c.Initiator == nil:
		return c, fmt.Errorf("no initiator is configured: %w", ErrConfig)
	case len(c.Box.VolumePaths) == 0:
		return c, fmt.Errorf("no volume path is configured: %w", ErrConfig)
	case c.Also != nil && c.Also.Transport == c.Box.Transport:
		return c, fmt.Errorf("both transports are the same: %w", ErrConfig)
	}
	if _, _, err := net.SplitHostPort(c.Box.Address); err != nil {
		return c, fmt.Errorf("address of the box %.100q is not host:port: %w", c.Box.Address, ErrConfig)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	return c, nil
}

func (e ExperimentConfig) complete() (ExperimentConfig, error) {
	e.FirstPort, e.LastPort = cmp.Or(e.FirstPort, 4420), cmp.Or(e.LastPort, 8515)
	e.Size = cmp.Or(e.Size, 64<<20)
	e.Patience = cmp.Or(e.Patience, 3*time.Second)
	e.Startup = cmp.Or(e.Startup, 15*time.Second)
	switch {
	case e.FirstPort < 1024 || e.LastPort < e.FirstPort+2:
		return e, fmt.Errorf("ports %d-%d are not at least three from 1024 on: %w", e.FirstPort, e.LastPort, ErrConfig)
	case e.Size < 1<<20 || e.Size%(1<<20) != 0 || e.Size > 1<<30:
		return e, fmt.Errorf("scratch disks of %d bytes are not whole MiB up to 1 GiB: %w", e.Size, ErrConfig)
	case e.Patience < 0 || e.Startup < 0:
		return e, fmt.Errorf("a time is negative: %w", ErrConfig)
	}
	for _, name := range e.Only {
		if !slices.ContainsFunc(questions, func(q question) bool { return q.name == name }) {
			return e, fmt.Errorf("there is no question %.32q: %w", name, ErrConfig)
		}
	}
	if e.Confirm == nil {
		e.Confirm = func(string) bool { return true }
	}
	return e, nil
}

// settings returns those of a transport, and nil where it is not configured.
func (c Config) settings(t rds.Transport) *rds.Config {
	switch {
	case c.Box.Transport == t:
		return &c.Box
	case c.Also != nil:
		return c.Also
	}
	return nil
}
