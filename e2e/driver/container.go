// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"sync/atomic"
	"time"

	"github.com/rds-csi/rds-csi/e2e/controlplane"
)

// restartPause is between the end of a process and its next start. A kubelet's is ten times as long.
const restartPause = time.Second

// A container is a process that is started again when it ends.
type container struct {
	name    string
	ours    bool // a program of this repository, which must end well
	program *controlplane.Component
	stopc   chan bool     // tells keep to end the process; true: by SIGKILL
	done    chan error    // has room for one; keep's last word
	running bool          // keep runs
	pause   time.Duration // for the next start
	lost    atomic.Bool   // it was killed, or has ended by itself
}

func newContainer(name string, program *controlplane.Component, ours bool) *container {
	return &container{name: name, program: program, ours: ours, pause: restartPause}
}

func (c *container) start() error {
	if c.running {
		return nil
	}
	if err := c.program.Start(); err != nil {
		return err
	}
	c.stopc, c.done, c.running = make(chan bool), make(chan error, 1), true
	go func() { c.done <- c.keep() }()
	return nil
}

// keep starts the process again whenever it ends.
func (c *container) keep() error {
	for {
		select {
		case kill := <-c.stopc:
			switch {
			case kill:
				c.lost.Store(true)
				return c.program.Kill()
			case c.ours:
				return c.program.Stop()
			}
			return c.program.End()
		case <-c.program.Done():
			c.lost.Store(true)
		}
		select {
		case <-c.stopc:
			return nil
		case <-time.After(c.pause):
		}
		if err := c.program.Start(); err != nil {
			<-c.stopc
			return err
		}
	}
}

// stop ends the process, which stays away.
func (c *container) stop(kill bool) error {
	if !c.running {
		return nil
	}
	c.running = false
	c.stopc <- kill
	return <-c.done
}
