// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// A lane is one session with the box, dialled when it is first needed and from then on whenever it is
// lost, and a bound on the commands under way on it.
type lane struct {
	name  string
	box   *Box
	slots chan struct{} // one element for each command under way
	want  chan struct{} // room for one: somebody needs a session

	mu   sync.Mutex
	link *link // never nil
}

// A link is a state of a lane, and does not change.
type link struct {
	conn    *routeros.Client // nil: there is no session
	err     error            // why not; nil beside a nil conn: one is being made
	changed chan struct{}    // closed when this is no longer the state
}

func newLane(name string, b *Box) *lane {
	return &lane{
		name: name, box: b,
		slots: make(chan struct{}, b.cfg.InFlight),
		want:  make(chan struct{}, 1),
		link:  &link{changed: make(chan struct{})},
	}
}

// session returns the lane's connection. It waits for one that is being made, within the command
// deadline, but not for a box that is known to be away.
func (l *lane) session(ctx context.Context) (*routeros.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, l.box.cfg.CommandTimeout)
	defer cancel()
	select {
	case l.want <- struct{}{}:
	default:
	}
	for {
		l.mu.Lock()
		now := l.link
		l.mu.Unlock()
		switch {
		case now.err != nil:
			return nil, now.err
		case now.conn != nil && now.conn.Err() == nil:
			return now.conn, nil
		}
		select {
		case <-now.changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a session with the box: %w", context.Cause(ctx))
		case <-l.box.ctx.Done():
			return nil, errClosed
		}
	}
}

// set changes the lane's state.
func (l *lane) set(conn *routeros.Client, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.link.changed)
	l.link = &link{conn: conn, err: err, changed: make(chan struct{})}
}

// steady is how long a session must last for the next one to be made at once.
const steady = 10 * time.Second

// run keeps the lane's session until ctx ends.
func (l *lane) run(ctx context.Context) {
	select {
	case <-l.want:
	case <-ctx.Done():
		return
	}
	fails := 0
	for pause(ctx, l.backoff(fails)) {
		attempt := time.Now()
		conn, err := l.connect(ctx)
		l.report(err, fails)
		begin := time.Now()
		// First, so that who is told finds it so.
		l.set(conn, err)
		l.box.cfg.Hooks.Reconnect(err, begin.Sub(attempt))
		if err != nil {
			fails++
			continue
		}
		l.box.linked(1)
		select {
		case <-conn.Done():
		case <-ctx.Done():
		}
		conn.Close()
		if fails++; time.Since(begin) >= steady {
			fails = 0
		}
		l.set(nil, nil) // callers wait for the next one: the box was there a moment ago
		l.box.linked(-1)
		if ctx.Err() != nil {
			return
		}
		l.box.cfg.Logger.Warn("session with the box was lost", "address", l.box.cfg.Address, "session", l.name, "error", conn.Err())
	}
}

// connect makes a session, within the command deadline.
func (l *lane) connect(ctx context.Context) (*routeros.Client, error) {
	cfg := l.box.cfg
	ctx, cancel := context.WithTimeout(ctx, cfg.CommandTimeout)
	defer cancel()
	return routeros.Dial(ctx, routeros.Config{
		Address: cfg.Address, Username: cfg.Username, Password: cfg.Password, TLS: cfg.TLS,
		WriteTimeout: cfg.CommandTimeout, DialContext: cfg.DialContext,
	})
}

// report logs an attempt to connect; of several failures in a row the first, since a box may be away
// for days.
func (l *lane) report(err error, fails int) {
	log := l.box.cfg.Logger.With("address", l.box.cfg.Address, "session", l.name)
	switch {
	case err == nil:
		log.Info("session with the box")
	case fails > 1:
		log.Debug("still no session with the box", "error", err)
	case errors.Is(err, routeros.ErrLogin):
		log.Error("the box refuses the login: check user name, password and the user's policies", "error", err)
	default:
		log.Warn("no session with the box", "error", err)
	}
}

// backoff returns how long to wait after a number of failures in a row: between half and all of a time
// that doubles, so that several drivers do not come back to a box together.
func (l *lane) backoff(fails int) time.Duration {
	if fails == 0 {
		return 0
	}
	d := l.box.cfg.MinBackoff
	for i := 1; i < fails && d < l.box.cfg.MaxBackoff; i++ {
		d *= 2
	}
	d = min(d, l.box.cfg.MaxBackoff)
	return d/2 + rand.N(d/2+1)
}

// pause waits, and reports false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
