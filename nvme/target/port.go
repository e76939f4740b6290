// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// A Port is where linked subsystems are reached: through the listeners it serves.
type Port struct {
	t    *Target
	id   uint16
	done chan struct{} // closed by Close

	serving sync.WaitGroup // Serve calls; added to under Target.mu while not closed

	// Guarded by Target.mu.
	links      map[string]bool // NQNs
	generation uint64          // of the discovery log
	closed     bool
}

// NewPort returns a port without links. The ID, which the discovery log tells, is free again after
// Close.
func (t *Target) NewPort(id uint16) (*Port, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, fmt.Errorf("make port %d: %w", id, ErrClosed)
	}
	if t.ports[id] != nil {
		return nil, fmt.Errorf("make port %d: %w", id, ErrExists)
	}
	p := &Port{t: t, id: id, done: make(chan struct{}), links: make(map[string]bool)}
	t.ports[id] = p
	return p, nil
}

// Link makes a subsystem reachable through the port.
func (p *Port) Link(nqn string) error {
	p.t.mu.Lock()
	if p.t.subsystems[nqn] == nil || p.closed {
		p.t.mu.Unlock()
		return fmt.Errorf("link subsystem %q to port %d: %w", nqn, p.id, ErrUnknown)
	}
	var changed []*controller
	if !p.links[nqn] {
		p.links[nqn] = true
		p.generation++
		changed = p.discoverersLocked()
	}
	p.t.mu.Unlock()
	tellDiscovery(changed)
	return nil
}

// Unlink undoes Link and ends the subsystem's controllers that came through the port. When it
// returns they do not use the Storage any more. A subsystem that is not linked is no error.
func (p *Port) Unlink(nqn string) {
	p.t.mu.Lock()
	var changed []*controller
	if p.links[nqn] {
		changed = p.unlinkLocked(nqn)
	}
	doomed := p.t.subsystems[nqn].match(func(c *controller) bool { return c.port == p })
	p.t.mu.Unlock()
	end(doomed, errors.New("subsystem unlinked"))
	tellDiscovery(changed)
}

// Links returns how many subsystems are linked to the port.
func (p *Port) Links() int {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	return len(p.links)
}

// unlinkLocked removes the link and returns the discovery controllers to tell.
func (p *Port) unlinkLocked(nqn string) []*controller {
	delete(p.links, nqn)
	p.generation++
	return p.discoverersLocked()
}

// discoverersLocked returns the discovery controllers that came through the port.
func (p *Port) discoverersLocked() []*controller {
	return p.t.discovery.match(func(c *controller) bool { return c.port == p })
}

// Close ends what the port serves, with every connection, and forgets its links. When it returns,
// no controller that came through the port uses its Storage any more.
func (p *Port) Close() {
	p.t.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.done)
		clear(p.links)
		delete(p.t.ports, p.id)
	}
	p.t.mu.Unlock()
	p.serving.Wait()
}

// Serve accepts connections until ctx is done, or l, the port or the Target is closed, which is no error. When
// it returns, l is closed and every connection from it has ended: a caller who closes l closes the
// port, with discovery's connections and those that have not come to their Connect yet. A port may
// serve several listeners.
func (p *Port) Serve(ctx context.Context, l net.Listener) error {
	p.t.mu.Lock()
	if p.t.closed || p.closed {
		p.t.mu.Unlock()
		_ = l.Close() // nobody waits for its outcome
		return nil
	}
	p.serving.Add(1)
	p.t.serving.Add(1)
	p.t.mu.Unlock()
	defer p.t.serving.Done()
	defer p.serving.Done()

	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		select {
		case <-ctx.Done():
		case <-p.done:
		case <-p.t.done:
		}
		cancel()
		_ = l.Close() // ends Accept; closing it twice is harmless
	})
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			q := p.t.open(p, conn)
			if q == nil {
				continue
			}
			wg.Go(func() {
				stop := context.AfterFunc(ctx, func() { q.end(errors.New("port closed")) })
				defer stop()
				q.run()
			})
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		case !passing(err):
			return fmt.Errorf("accept on port %d: %w", p.id, err)
		default:
			p.t.cfg.Logger.Warn("nvme accept failed", "port", p.id, "error", err)
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
		}
	}
}

// acceptPause is how long Serve waits after the process ran out of what a connection needs.
const acceptPause = 100 * time.Millisecond

// passing reports whether an error of Accept is of the kind that passes.
func passing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// open registers a new connection. It returns nil, with the connection closed, if there are too many.
func (t *Target) open(p *Port, conn net.Conn) *queue {
	q := newQueue(t, p, conn)
	t.mu.Lock()
	full := len(t.queues) >= t.cfg.MaxConnections
	if !full {
		t.queues[q] = struct{}{}
	}
	t.mu.Unlock()
	if full {
		t.cfg.Logger.Warn("nvme connection refused", "port", p.id, "peer", conn.RemoteAddr(), "limit", t.cfg.MaxConnections)
		_ = conn.Close()
		return nil
	}
	return q
}
