// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"crypto/subtle"
	"errors"
	"time"
)

// same compares what somebody says with what is secret.
func same(said, secret string) bool {
	return subtle.ConstantTimeCompare([]byte(said), []byte(secret)) == 1
}

// login carries out /login. The session stays open when it fails.
func (s *session) login(c Command, a *answer) {
	s.box.counts.add(c.Name)
	name, password := c.Arg("name"), c.Arg("password")
	c.Args = nil // nobody else may see them
	fault := s.box.fault(c)
	err := fault.do(s.ctx, s.cancel, func() (err error) {
		s.rights, err = s.box.login("api", func(st state) bool { return st.authenticate(s.box.cfg, name, password) })
		return err
	})
	switch {
	case errors.Is(err, errDropped):
	case err != nil:
		s.log.Warn("API login failed")
		a.fail(err)
	default:
		s.loggedIn = true
		// What does not log in in time is cut off; who has logged in may be silent for ever.
		if err := s.conn.SetReadDeadline(time.Time{}); err != nil {
			s.cancel()
			return
		}
		a.done()
	}
}

// start starts a command. The answer comes when it has been carried out.
func (s *session) start(c Command, a *answer) {
	h, err := s.box.handler(c.Name)
	if err != nil {
		s.box.counts.add(unknownCommand)
		a.fail(err)
		return
	}
	c.rights = s.rights
	s.box.counts.add(c.Name)
	parent := s.ctx
	if h.changes {
		parent = s.box.ctx // goes on without the connection
	}
	ctx, end, ok := s.begin(parent, c.tag)
	if !ok {
		a.fail(&trap{apiError, "too many commands"})
		return
	}
	fault := s.box.fault(c)
	var t *turn
	if h.changes && !s.box.cfg.Switches.Unordered && !fault.waits() {
		t = s.order.next()
	}
	var w *watcher
	stop := func() {}
	if h.listen != nil {
		w, stop = s.box.machine.watchers.add() // it is told of all that takes effect from now on
	}
	s.box.wg.Go(func() {
		defer end()
		defer t.end()
		defer stop()
		var r reply
		err := fault.do(ctx, s.cancel, func() (err error) {
			if err := s.box.permit(c, h.changes); err != nil {
				return err
			}
			if h.listen != nil {
				return h.listen(ctx, c, w, a)
			}
			r, err = s.box.serve(ctx, t, s.box.late(s.ctx, h), c)
			return err
		})
		if cause := context.Cause(ctx); err != nil && errors.Is(cause, errInterrupted) {
			err = errInterrupted
		}
		a.cut = fault.Truncate
		s.finish(a, r, err)
	})
}

// finish answers a command that was carried out, or not.
func (s *session) finish(a *answer, r reply, err error) {
	switch {
	case errors.Is(err, errDropped), errors.Is(err, errPowerOff), errors.Is(err, context.Canceled):
		// Nobody is there to be answered.
	case err != nil:
		a.fail(err)
	default:
		for _, row := range r.rows {
			a.re(row)
		}
		if r.empty {
			a.empty()
		}
		a.done(r.done...)
	}
}

// sleep waits, unless the context ends before.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serve carries out a command by the service-time model: it waits for one of the box's places, takes
// its time there, and then takes effect.
func (b *boot) serve(ctx context.Context, t *turn, h handler, c Command) (reply, error) {
	if err := t.start(ctx); err != nil {
		return reply{}, err
	}
	select {
	case b.places <- struct{}{}:
		defer func() { <-b.places }()
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
	t.begun()
	if err := sleep(ctx, b.cfg.ServiceTime); err != nil {
		return reply{}, err
	}
	if err := t.wait(ctx); err != nil {
		return reply{}, err
	}
	return h.run(ctx, c)
}

// late returns a handler whose changes wait for Switches.LateWrites, if their connection has ended
// before they take effect.
func (b *boot) late(alive context.Context, h handler) handler {
	run := h.run
	if h.changes && b.cfg.Switches.LateWrites > 0 {
		h.run = func(ctx context.Context, c Command) (reply, error) {
			if alive.Err() != nil {
				if err := sleep(ctx, b.cfg.Switches.LateWrites); err != nil {
					return reply{}, err
				}
			}
			return run(ctx, c)
		}
	}
	return h
}

// order keeps the changes that one connection asks for in the order in which it sent them. Its
// methods are for one goroutine.
type order struct{ last *turn }

// A turn is one command's place in an order. The nil turn waits for nobody.
type turn struct {
	before   *turn
	started  bool          // startedc is closed
	startedc chan struct{} // closed when the command has a place
	donec    chan struct{} // closed when it has taken effect, or never will
}

// next returns a turn after all that it returned before.
func (o *order) next() *turn {
	o.last = &turn{before: o.last, startedc: make(chan struct{}), donec: make(chan struct{})}
	return o.last
}

// start waits until the command before has a place.
func (t *turn) start(ctx context.Context) error {
	if t == nil || t.before == nil {
		return nil
	}
	select {
	case <-t.before.startedc:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begun tells the command behind that this one has a place.
func (t *turn) begun() {
	if t != nil {
		t.started = true
		close(t.startedc)
	}
}

// wait waits until the command before has taken effect.
func (t *turn) wait(ctx context.Context) error {
	if t == nil || t.before == nil {
		return nil
	}
	select {
	case <-t.before.donec:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end lets the commands behind go on. A command that gave up passes on what it still had to wait for:
// the one before it always ends, at the latest with the power.
func (t *turn) end() {
	if t == nil {
		return
	}
	if t.before != nil {
		<-t.before.donec
		t.before = nil // else every command would stay in memory
	}
	if !t.started {
		close(t.startedc)
	}
	close(t.donec)
}
