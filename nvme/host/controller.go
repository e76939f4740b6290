// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// A Controller is one host's connection to one subsystem, kept up until it is closed or gone. Its
// methods may be called from many goroutines.
type Controller struct {
	cfg Config

	state    atomic.Int32                           // a State
	gate     atomic.Pointer[gate]                   // where I/O goes
	identity atomic.Pointer[tcp.ControllerIdentity] // of the latest association
	ns       atomic.Pointer[Namespace]              // as last seen; zero: none
	buffers  pools
	turn     atomic.Uint32 // spreads I/O over the queues

	answers chan answer   // of keep-alive commands
	scans   chan scan     // of the namespace
	tries   chan attempt  // room for one: there is at most one attempt
	closing chan struct{} // closed by Close
	done    chan struct{} // closed when everything has ended
	once    sync.Once     // of closing
	err     error         // why it ended; set before done is closed

	// Owned by run.
	assoc     *association // nil unless live
	keepAlive keepAlive
	reconnect reconnect
	trying    context.CancelFunc // of the running attempt; nil: none
	namesake  Namespace          // the namespace as first seen: what I/O is meant for
}

// A gate tells I/O where to go. It is replaced as a whole, never changed.
type gate struct {
	assoc   *association  // once it has failed: wait for the next gate
	err     error         // not nil: it is over
	changed chan struct{} // closed when another gate has taken this one's place
}

// An answer is that to a keep-alive command.
type answer struct {
	assoc *association
	err   error
}

// A scan is what the namespace was found to be.
type scan struct {
	assoc *association
	ns    Namespace     // zero: none
	seen  chan struct{} // closed when it was taken note of
}

// An attempt is the outcome of one attempt to connect.
type attempt struct {
	assoc *association
	err   error
}

// Connect connects, and returns when the controller is live. The first attempt is the only one; ctx
// bounds it and nothing after it.
func Connect(ctx context.Context, cfg Config) (*Controller, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	c := &Controller{
		cfg:       cfg,
		answers:   make(chan answer),
		scans:     make(chan scan),
		tries:     make(chan attempt, 1),
		closing:   make(chan struct{}),
		done:      make(chan struct{}),
		keepAlive: keepAlive{timeout: max(cfg.KeepAlive, 0)},
		reconnect: newReconnect(cfg.ReconnectDelay, cfg.CtrlLossTimeout, cfg.HonorDNR),
	}
	c.gate.Store(&gate{changed: make(chan struct{})}) // seen by nobody
	c.ns.Store(&Namespace{})
	c.identity.Store(&tcp.ControllerIdentity{})
	c.enter(StateConnecting)
	assoc, err := associate(ctx, cfg)
	if err != nil {
		c.enter(StateDeleting)
		c.enter(StateDeleted)
		return nil, fmt.Errorf("connect %s: %w", cfg.SubsystemNQN, err)
	}
	c.live(time.Now(), assoc)
	go c.run()
	return c, nil
}

// State returns where the controller stands.
func (c *Controller) State() State { return State(c.state.Load()) }

// Done returns a channel that is closed when the controller is deleted and nothing of it runs.
func (c *Controller) Done() <-chan struct{} { return c.done }

// Err returns why the controller ended, an ErrClosed or an ErrGone, and nil while it has not.
func (c *Controller) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Close disconnects: it waits up to five seconds for commands in flight and the controller's
// shutdown, fails all other I/O with ErrClosed, and returns when nothing of the controller runs any
// more. It is not an error to close what is gone or closed.
func (c *Controller) Close() error {
	c.once.Do(func() { close(c.closing) })
	<-c.done
	return nil
}

// run owns the controller until it ends.
func (c *Controller) run() {
	defer close(c.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for c.err == nil {
		c.arm(timer)
		select {
		case <-c.closing:
			c.end(ErrClosed)
		case <-timer.C:
			c.expire(time.Now())
		case <-c.assoc.lost():
			c.lose(time.Now(), c.assoc.cause())
		case try := <-c.tries:
			c.tried(time.Now(), try)
		case a := <-c.answers:
			c.answered(time.Now(), a)
		case s := <-c.scans:
			if s.assoc == c.assoc {
				c.observe(s.ns)
			}
			close(s.seen)
		}
	}
}

// arm sets the timer to the earliest deadline.
func (c *Controller) arm(timer *time.Timer) {
	now := time.Now()
	next := earliest(c.keepAlive.deadline(), c.reconnect.deadline(), c.assoc.deadline(now, c.cfg.IOTimeout))
	if next.IsZero() {
		timer.Stop()
		return
	}
	timer.Reset(next.Sub(now))
}

// expire does what is due.
func (c *Controller) expire(now time.Time) {
	switch {
	case c.keepAlive.expired(now):
		c.lose(now, fmt.Errorf("keep alive: %w", errTimeout))
	case c.assoc.expired(now, c.cfg.IOTimeout):
		c.lose(now, fmt.Errorf("i/o command: %w", errTimeout))
	case c.keepAlive.due(now):
		c.ping()
	case c.reconnect.begin(now):
		c.try()
	}
}

// live begins to serve I/O over an association.
func (c *Controller) live(now time.Time, assoc *association) {
	c.assoc = assoc
	c.keepAlive.start(now)
	c.reconnect.live()
	c.identity.Store(&assoc.identity)
	c.observe(assoc.ns)
	c.enter(StateLive)
	c.open(&gate{assoc: assoc})
	assoc.watch(c.cfg.Logger, c.scans)
}

// lose tears the association down. I/O in flight comes back to its callers' goroutines, and they
// wait for another gate.
func (c *Controller) lose(now time.Time, cause error) {
	c.cfg.Logger.Warn("connection lost", "cause", cause, "reconnect-delay", c.cfg.ReconnectDelay)
	c.enter(StateResetting)
	c.assoc.close(cause)
	c.assoc = nil
	c.keepAlive.stop()
	c.reconnect.lost(now)
	c.enter(StateConnecting)
}

// try makes an attempt on a goroutine of its own; tries brings its outcome.
func (c *Controller) try() {
	ctx, cancel := context.WithCancel(context.Background())
	c.trying = cancel
	go func() {
		assoc, err := associate(ctx, c.cfg)
		c.tries <- attempt{assoc, err}
	}()
}

func (c *Controller) tried(now time.Time, try attempt) {
	c.trying()
	c.trying = nil
	if try.err == nil {
		c.cfg.Logger.Info("reconnected", "attempts", c.reconnect.attempts, "cntlid", try.assoc.cntlid)
		c.live(now, try.assoc)
		return
	}
	c.cfg.Logger.Warn("reconnect failed", "attempt", c.reconnect.attempts, "cause", try.err)
	if gone := c.reconnect.failed(now, try.err); gone != nil {
		c.end(gone)
	}
}

// ping sends a keep-alive command; answers brings its outcome.
func (c *Controller) ping() {
	assoc := c.assoc
	assoc.run.Go(func() {
		a := answer{assoc: assoc, err: assoc.ping()}
		select {
		case c.answers <- a:
		case <-assoc.lost():
		}
	})
}

func (c *Controller) answered(now time.Time, a answer) {
	switch {
	case a.assoc != c.assoc:
	case errors.Is(a.err, errLost):
		c.lose(now, c.assoc.cause())
	case a.err != nil:
		c.lose(now, a.err)
	default:
		c.keepAlive.answered(now)
	}
}

// observe takes note of what the namespace is. One that is not what it was at first is another
// disk, and is treated as none: the kernel takes the block device away.
func (c *Controller) observe(ns Namespace) {
	if c.namesake == (Namespace{}) {
		c.namesake = ns
	}
	if !ns.same(c.namesake) {
		ns = Namespace{}
	}
	if old := *c.ns.Swap(&ns); old != ns {
		c.cfg.OnNamespace(old, ns)
	}
}

// end takes the controller down for good.
func (c *Controller) end(cause error) {
	c.err = cause
	c.open(&gate{err: cause})
	c.enter(StateDeleting)
	if c.trying != nil {
		c.trying()
		c.assoc = (<-c.tries).assoc
	}
	if c.assoc != nil {
		if err := c.assoc.shutdown(shutdownTimeout); err != nil {
			c.cfg.Logger.Warn("not shut down cleanly", "cause", err)
		}
		c.assoc.close(cause)
	}
	c.enter(StateDeleted)
}

// open puts a gate in the place of the present one.
func (c *Controller) open(g *gate) {
	g.changed = make(chan struct{})
	close(c.gate.Swap(g).changed)
}

func (c *Controller) enter(s State) {
	if old := State(c.state.Swap(int32(s))); old != s {
		c.cfg.OnState(old, s)
	}
}

// earliest returns the first of some times, of which a zero one is never.
func earliest(times ...time.Time) (first time.Time) {
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}
