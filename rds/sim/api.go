// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of one API connection, so that its peer can take only so much memory.
const (
	maxCommands  = 64               // under way at the same time
	loginTimeout = 30 * time.Second // from the connection to the end of the first sentence, and of each until login
	writeTimeout = 30 * time.Second // for a batch that a client does not read
	batchSize    = 32 << 10         // bytes of answer sentences that are written together
	maxBatches   = 8                // waiting to be written
)

// An api is the RouterOS API of one boot.
type api struct {
	box  *boot
	last *atomic.Uint64 // the number of the session before, also of earlier boots

	mu       sync.Mutex
	sessions map[*session]struct{}
}

// listen serves the connections of a listener until ctx ends, and closes it.
func (a *api) listen(ctx context.Context, ln net.Listener, conf *tls.Config) {
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	defer func() { _ = ln.Close() }()
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return
		}
		if err != nil {
			a.box.log.Warn("API connection cannot be accepted", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		s := newSession(ctx, a.box, conn, conf, a.last.Add(1))
		if !a.admit(s) {
			a.box.log.Warn("API connection refused: too many sessions", "peer", conn.RemoteAddr().String())
			s.cancel()
			_ = conn.Close()
			continue
		}
		a.box.wg.Go(func() { s.run(a.leave) })
	}
}

// admit counts a session, if there is room for it.
func (a *api) admit(s *session) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.sessions) >= a.box.cfg.MaxSessions {
		return false
	}
	a.sessions[s] = struct{}{}
	return true
}

func (a *api) leave(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.sessions, s)
}

// drop ends every session.
func (a *api) drop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for s := range a.sessions {
		s.cancel()
	}
}
