// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// pipes is a listener of in-memory connections, for tests under synctest.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l pipes) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}

func (l pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (l pipes) dial() net.Conn {
	a, b := net.Pipe()
	l.conns <- b
	return a
}

// bubble runs f with a target under a fake clock.
func bubble(t *testing.T, cfg Config, f func(t *testing.T, w *world, dial func() net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, tgt: New(cfg), mem: newMemory(1 << 20)}
		if err := w.tgt.Add(Subsystem{NQN: testNQN, Storage: w.mem}); err != nil {
			t.Fatal(err)
		}
		var err error
		if w.port, err = w.tgt.NewPort(1); err != nil {
			t.Fatal(err)
		}
		if err = w.port.Link(testNQN); err != nil {
			t.Fatal(err)
		}
		l := pipes{make(chan net.Conn), make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- w.port.Serve(context.Background(), l) }()
		f(t, w, l.dial)
		w.tgt.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// TestKeepAlive: a silent host's controller ends after one to two timeouts, not before; any command
// on any queue keeps it.
func TestKeepAlive(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, w *world, dial func() net.Conn) {
		p := newPeer("a")
		p.kato = 5000
		s := p.attach(t, dial, testNQN, 1)
		for range 10 {
			time.Sleep(4 * time.Second)
			s.io[0].must(readBlocks(0, 1), nil)
		}
		began := time.Now()
		err := s.admin.ending()
		if d := time.Since(began); d < 5*time.Second || d > 10*time.Second {
			t.Errorf("ended after %v of silence: %v", d, err)
		}
		s.io[0].wantEnd()
		synctest.Wait()
		if got := w.tgt.Controllers(testNQN); len(got) != 0 {
			t.Errorf("controllers %+v", got)
		}
	})
}

func TestNoKeepAlive(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, _ *world, dial func() net.Conn) {
		s := newPeer("a").attach(t, dial, testNQN, 1)
		d := newPeer("a").attach(t, dial, tcp.DiscoveryNQN, 0)
		time.Sleep(24 * time.Hour)
		s.io[0].must(readBlocks(0, 1), nil)
		select {
		case <-d.admin.done:
		default:
			t.Error("a forgotten discovery controller stays")
		}
	})
}

// TestHandshakeTimeout: a connection that does not come to its Connect ends, wherever it stands.
func TestHandshakeTimeout(t *testing.T) {
	bubble(t, Config{HandshakeTimeout: 3 * time.Second}, func(t *testing.T, _ *world, dial func() net.Conn) {
		began := time.Now()
		silent := dial()
		defer func() { _ = silent.Close() }()
		half := open(t, dial(), 0)
		if _, err := silent.Read(make([]byte, 1)); err == nil {
			t.Error("the target speaks first")
		}
		half.wantEnd()
		if d := time.Since(began); d != 3*time.Second {
			t.Errorf("ended after %v", d)
		}
	})
}

// TestFreeze: a frozen target answers nothing and keeps its connections, whatever their keep-alive;
// thawed it goes on. A fence works while it is frozen.
func TestFreeze(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, w *world, dial func() net.Conn) {
		a, b := newPeer("a"), newPeer("b")
		a.kato, b.kato = 5000, 5000
		sa, sb := a.attach(t, dial, testNQN, 1), b.attach(t, dial, testNQN, 1)
		w.tgt.Freeze()
		data := make([]byte, BlockSize)
		data[0] = 1
		ra, rb := sa.io[0].start(writeBlocks(0, 1), data), sb.io[0].start(writeBlocks(1, 1), data)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		select {
		case r := <-ra.end:
			t.Fatalf("a frozen target answered: %+v", r)
		default:
		}
		w.tgt.Drop(testNQN, b.nqn)
		sb.io[0].wantEnd()
		if r := sb.io[0].wait(rb); r.err == nil {
			t.Errorf("the dropped host has an answer: %+v", r)
		}
		w.tgt.Thaw()
		if r := sa.io[0].wait(ra); r.err != nil || r.cqe.Status != 0 {
			t.Errorf("after the thaw: %v, %v", r.cqe.Status, r.err)
		}
		if w.mem.b[0] != 1 || w.mem.b[BlockSize] != 0 {
			t.Errorf("the storage has %d of a, %d of b", w.mem.b[0], w.mem.b[BlockSize])
		}
	})
}

// TestFreezeHoldsAnswers: what was in the storage when the target froze is not answered either.
func TestFreezeHoldsAnswers(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, w *world, dial func() net.Conn) {
		c := newPeer("a").attach(t, dial, testNQN, 1).io[0]
		entered, release := w.mem.block()
		x := c.start(readBlocks(0, 1), nil)
		<-entered
		w.tgt.Freeze()
		release()
		synctest.Wait()
		select {
		case r := <-x.end:
			t.Fatalf("a frozen target answered: %+v", r)
		default:
		}
		w.tgt.Thaw()
		if r := c.wait(x); r.err != nil || r.cqe.Status != 0 {
			t.Errorf("after the thaw: %v, %v", r.cqe.Status, r.err)
		}
	})
}

// TestTerminationLingers: a host that does not close after a C2HTermReq, or does not read it, is
// closed.
func TestTerminationLingers(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, _ *world, dial func() net.Conn) {
		nc := dial()
		defer func() { _ = nc.Close() }()
		if _, err := nc.Write([]byte{9, 9, 9, 9, 9, 9, 9, 9}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		time.Sleep(10 * lingerTime)
		if _, err := nc.Write([]byte{1}); err == nil {
			t.Error("the connection stays")
		}
		if d := time.Since(began); d != 10*lingerTime {
			t.Errorf("took %v", d)
		}
	})
}

// TestServeEnds: Serve returns when its listener fails, its context is done or the listener was
// closed, and takes its connections with it.
func TestServeEnds(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name string
		end  func(cancel context.CancelFunc, l *failing)
		want error
	}{
		{"context", func(cancel context.CancelFunc, _ *failing) { cancel() }, nil},
		{"listener", func(_ context.CancelFunc, l *failing) { _ = l.Close() }, nil},
		{"failure", func(_ context.CancelFunc, l *failing) { l.fail <- broken }, broken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tgt := New(Config{})
				defer tgt.Close()
				p, err := tgt.NewPort(1)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				l := &failing{pipes{make(chan net.Conn), make(chan struct{})}, make(chan error)}
				served := make(chan error, 1)
				go func() { served <- p.Serve(ctx, l) }()
				c := open(t, l.dial(), 0)
				tt.end(cancel, l)
				c.wantEnd()
				if err := <-served; !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
			})
		})
	}
}

// failing is a listener that can fail.
type failing struct {
	pipes
	fail chan error
}

func (l *failing) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	case err := <-l.fail:
		return nil, err
	}
}
