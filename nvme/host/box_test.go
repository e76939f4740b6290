// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/target"
)

// A box is a real target with one subsystem, linked to one port, behind a socket or behind pipes.
type box struct {
	*target.Target
	port *target.Port
	disk *memory
	addr string

	pipes  *pipes
	served sync.WaitGroup
}

func newBox(t testing.TB, cfg target.Config, l net.Listener) *box {
	t.Helper()
	b := &box{Target: target.New(cfg), disk: &memory{b: make([]byte, testDisk)}, addr: l.Addr().String()}
	var err error
	if b.port, err = b.NewPort(1); err != nil {
		t.Fatal(err)
	}
	if err := b.Add(target.Subsystem{NQN: testSubsystem, Storage: b.disk}); err != nil {
		t.Fatal(err)
	}
	b.link(t)
	b.served.Go(func() {
		if err := b.port.Serve(context.Background(), l); err != nil {
			t.Error(err)
		}
	})
	return b
}

// socketBox is a box behind a socket.
func socketBox(t testing.TB, cfg target.Config) *box {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := newBox(t, cfg, l)
	t.Cleanup(b.stop)
	return b
}

// pipeBox is a box behind pipes, for synctest. Close it before the bubble ends.
func pipeBox(t testing.TB, cfg target.Config) *box {
	t.Helper()
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	b := newBox(t, cfg, p)
	b.pipes = p
	return b
}

func (b *box) stop() {
	b.Thaw()
	b.Close()
	b.served.Wait()
}

func (b *box) link(t testing.TB) {
	t.Helper()
	if err := b.port.Link(testSubsystem); err != nil {
		t.Fatal(err)
	}
}

// config connects to the box. Hosts are told apart by n.
func (b *box) config(n byte) Config {
	id := uuid.UUID{15: n}
	cfg := Config{
		Address: b.addr, SubsystemNQN: testSubsystem, HostNQN: "nqn.2014-08.org.nvmexpress:uuid:" + id.String(), HostID: id,
		ReconnectDelay: 2 * time.Second, CtrlLossTimeout: -1,
	}
	if b.pipes != nil {
		cfg.Dial = b.pipes.dial
	}
	return cfg
}

// connect connects, and closes at the end of the test or bubble.
func (b *box) connect(t testing.TB, cfg Config) *Controller {
	t.Helper()
	c, err := Connect(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pipes is a net.Listener of net.Pipe.
type pipes struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}

	mu      sync.Mutex
	refused bool
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4420} }

// refuse closes or opens the port.
func (p *pipes) refuse(refused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused = refused
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	p.mu.Lock()
	refused := p.refused
	p.mu.Unlock()
	if refused {
		return nil, syscall.ECONNREFUSED
	}
	ours, theirs := net.Pipe()
	select {
	case p.conns <- addressed{theirs}:
		return ours, nil
	case <-p.closed:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// addressed is a pipe with the addresses of a socket.
type addressed struct{ net.Conn }

func (addressed) LocalAddr() net.Addr { return (*pipes)(nil).Addr() }

func (addressed) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50000} }

// memory is a target.Storage.
type memory struct {
	mu sync.RWMutex
	b  []byte
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if n := copy(p, m.b[min(off, int64(len(m.b))):]); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if off+int64(len(p)) > int64(len(m.b)) {
		return 0, io.ErrShortWrite
	}
	return copy(m.b[off:], p), nil
}

// Discard zeroes, so that a test can tell.
func (m *memory) Discard(off, n int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.b[off : off+n])
	return nil
}

func (m *memory) Sync() error { return nil }

func (m *memory) Size() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return int64(len(m.b))
}

func (m *memory) grow(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.b = append(m.b, make([]byte, n-len(m.b))...)
}
