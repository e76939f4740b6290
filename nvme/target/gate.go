// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import "sync"

// A gate lets goroutines through while it is open.
type gate struct {
	mu  sync.Mutex
	way chan struct{} // closed while the gate is open
}

func newGate() *gate {
	g := &gate{way: make(chan struct{})}
	close(g.way)
	return g
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isOpen() {
		g.way = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isOpen() {
		close(g.way)
	}
}

// isOpen is called under mu.
func (g *gate) isOpen() bool {
	select {
	case <-g.way:
		return true
	default:
		return false
	}
}

func (g *gate) frozen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.isOpen()
}

// wait returns true once the gate is open, and false once done is closed, even if the gate is open.
func (g *gate) wait(done <-chan struct{}) bool {
	g.mu.Lock()
	way := g.way
	g.mu.Unlock()
	select {
	case <-way:
	case <-done:
	}
	select {
	case <-done:
		return false
	default:
		return true
	}
}
