// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors_test

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"
)

// A network connects drivers with a box through pipes, in the bubble of a schedule.
type network struct {
	mu    sync.Mutex
	ports map[string]*port
	conns []net.Conn // the box's ends, in order
	away  time.Time  // until then nobody gets through
}

// A port is where the box listens.
type port struct {
	net     *network
	address string
	comers  chan net.Conn
	closed  chan struct{}
	close   sync.Once
}

func (n *network) listen(_ context.Context, _, address string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ports[address] != nil {
		return nil, &net.OpError{Op: "listen", Net: "pipe", Err: syscall.EADDRINUSE}
	}
	p := &port{net: n, address: address, comers: make(chan net.Conn), closed: make(chan struct{})}
	n.ports[address] = p
	return p, nil
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	refused := &net.OpError{Op: "dial", Net: "pipe", Err: syscall.ECONNREFUSED}
	n.mu.Lock()
	p := n.ports[address]
	if time.Now().Before(n.away) {
		p = nil
	}
	n.mu.Unlock()
	if p == nil {
		return nil, refused
	}
	driver, box := net.Pipe()
	select {
	case p.comers <- box:
		n.mu.Lock()
		defer n.mu.Unlock()
		n.conns = append(n.conns, box)
		return driver, nil
	case <-p.closed:
		return nil, refused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// cut ends all connections, and lets nobody through for a time. They end one after the other, so that which one was
// noticed first is not left to chance.
func (n *network) cut(until time.Time) {
	n.mu.Lock()
	conns := n.conns
	n.conns, n.away = nil, until
	n.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		time.Sleep(time.Microsecond)
	}
}

// Accept, Close and Addr make a port a net.Listener.
func (p *port) Accept() (net.Conn, error) {
	select {
	case conn := <-p.comers:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *port) Close() error {
	p.close.Do(func() {
		p.net.mu.Lock()
		delete(p.net.ports, p.address)
		p.net.mu.Unlock()
		close(p.closed)
	})
	return nil
}

func (p *port) Addr() net.Addr { return address(p.address) }

type address string

func (address) Network() string  { return "pipe" }
func (a address) String() string { return string(a) }
