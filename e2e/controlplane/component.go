// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/rds-csi/rds-csi/bench/process"
	"github.com/rds-csi/rds-csi/e2e/await"
)

// askTimeout bounds one question to a program that may not be listening yet.
const askTimeout = 5 * time.Second

// A Component is a program that may be run several times, one after the other, with one log.
type Component struct {
	// Env is what the program finds in its environment besides what this process has, "name=value", from
	// the next Start on.
	Env []string

	path, log string
	args      []string

	mu  sync.Mutex
	run *process.Process // nil: never started
}

// NewComponent returns a program that does not run yet. Its log is NAME.log in dir.
func NewComponent(path, dir, name string, args ...string) *Component {
	return &Component{path: path, log: filepath.Join(dir, name+".log"), args: args}
}

// Start runs the program, which ends with this process at the latest.
func (c *Component) Start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	run, err := process.Start(process.Config{
		Path: c.path, Args: c.args, Env: c.Env, Log: c.log, Append: true,
		// A group of its own keeps the terminal's Ctrl-C from it: it is stopped in its turn. Should this
		// process be killed, the kernel kills the program.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err == nil {
		c.run = run
	}
	return err
}

func (c *Component) current() *process.Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.run
}

// Done is closed when the program has ended, nil before it was started.
func (c *Component) Done() <-chan struct{} {
	if run := c.current(); run != nil {
		return run.Done()
	}
	return nil
}

// Err tells that a program ended which should run, with its last words.
func (c *Component) Err() error {
	if run := c.current(); run != nil {
		return run.Err()
	}
	return nil
}

// Await asks until the answer is nil. It fails with the last answer when the program ends, or if it takes too long.
func (c *Component) Await(ctx context.Context, ask func(context.Context) error) error {
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		select {
		case <-c.Done():
			stop(c.Err())
		case <-running.Done():
		}
	}()
	return await.Nil(running, func(ctx context.Context) error {
		once, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		return ask(once)
	})
}

// Stop asks the program to end and waits for it. That it fails on its way out is an error, as for a program
// of this repository.
func (c *Component) Stop() error {
	if run := c.current(); run != nil {
		return run.Stop()
	}
	return nil
}

// End is Stop for a program of others. What it thinks of being stopped does not matter; that it has to be
// killed does.
func (c *Component) End() error {
	if err := c.Stop(); errors.Is(err, process.ErrNotEnded) {
		return err
	}
	return nil
}

// Kill ends the program as a crash does.
func (c *Component) Kill() error {
	if run := c.current(); run != nil {
		return run.Kill()
	}
	return nil
}

// Freeze lets the program do nothing any more, until it is thawed or ended.
func (c *Component) Freeze(frozen bool) error {
	if run := c.current(); run != nil {
		return run.Freeze(frozen)
	}
	return nil
}
