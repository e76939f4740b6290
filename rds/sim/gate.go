// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"net"
	"sync"
)

// A gate lets through what sessions read and write, while it is open.
type gate struct {
	mu  sync.Mutex
	way chan struct{} // closed while the gate is open
	is  bool          // open
}

func newGate() *gate {
	g := &gate{}
	g.open(true)
	return g
}

// open opens the gate, or shuts it.
func (g *gate) open(is bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.is == is:
	case is && g.way != nil:
		close(g.way)
	case is:
		g.way = make(chan struct{})
		close(g.way)
	default:
		g.way = make(chan struct{})
	}
	g.is = is
}

// isOpen reports whether the gate is open.
func (g *gate) isOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.is
}

// wait waits until the gate is open, or done is closed.
func (g *gate) wait(done <-chan struct{}) error {
	g.mu.Lock()
	way := g.way
	g.mu.Unlock()
	select {
	case <-way:
		return nil
	case <-done:
		return net.ErrClosed
	}
}

// through returns a connection that stands still while the gate is shut: what comes is not read, and
// nothing goes out. It must be closed when done is.
func (g *gate) through(conn net.Conn, done <-chan struct{}) net.Conn {
	return &gated{Conn: conn, gate: g, done: done}
}

type gated struct {
	net.Conn
	gate *gate
	done <-chan struct{}
}

// Read reads and waits for the gate.
func (c *gated) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if wait := c.gate.wait(c.done); wait != nil {
		return 0, wait
	}
	return n, err
}

// Write waits for the gate and writes.
func (c *gated) Write(p []byte) (int, error) {
	if err := c.gate.wait(c.done); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
