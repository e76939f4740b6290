// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of one connection, so that its peer can take only so much memory.
const (
	maxCommands  = 64               // of the API, under way at the same time
	loginTimeout = 30 * time.Second // from the connection to the end of the first sentence, and of each until login
	writeTimeout = 30 * time.Second // for a batch that a client does not read
	batchSize    = 32 << 10         // bytes of an answer that are written together
	maxBatches   = 8                // waiting to be written
)

// sessions are the connections of one boot, over the API and SSH.
type sessions struct {
	box  *boot
	last *atomic.Uint64 // the number of the session before, also of earlier boots

	mu   sync.Mutex
	open map[connection]struct{}
}

// A connection is one of a transport.
type connection interface {
	// run serves the connection until it ends. leave is called before the peer can see that end.
	run(leave func())
	end()
}

// An opener makes a connection of a transport, which ends with the context.
type opener func(ctx context.Context, conn net.Conn, number uint64) connection

// listen serves the connections of a listener until ctx ends, and closes it.
func (ss *sessions) listen(ctx context.Context, ln net.Listener, open opener) {
	closed := make(chan struct{}) // closed when the end of ctx has closed the port
	alive := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = ln.Close()
	})
	defer func() {
		if alive() {
			_ = ln.Close()
			return
		}
		<-closed // Accept returns before the port is free, and the next boot wants it
	}()
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return
		}
		if err != nil {
			ss.box.log.Warn("connection cannot be accepted", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		c := open(ctx, conn, ss.last.Add(1))
		if !ss.admit(c) {
			ss.box.log.Warn("connection refused: too many sessions", "peer", conn.RemoteAddr().String())
			c.end()
			_ = conn.Close()
			continue
		}
		ss.box.wg.Go(func() { c.run(func() { ss.leave(c) }) })
	}
}

// admit counts a connection, if there is room for it.
func (ss *sessions) admit(c connection) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if len(ss.open) >= ss.box.cfg.MaxSessions {
		return false
	}
	ss.open[c] = struct{}{}
	return true
}

func (ss *sessions) leave(c connection) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	delete(ss.open, c)
}

// count returns how many connections there are.
func (ss *sessions) count() int {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return len(ss.open)
}

// drop ends every connection.
func (ss *sessions) drop() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for c := range ss.open {
		c.end()
	}
}
