// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// mailboxSize is how many requests may wait for a volume's loop to look at them.
const mailboxSize = 16

// An actor is the goroutine that owns one volume's State, with its mailbox.
type actor struct {
	id  VolumeID
	sup *Supervisor

	mailbox chan message  // bounded; the supervisor sends without waiting
	news    news          // latest wins
	results chan Done     // of the effect in flight: room for one
	donec   chan struct{} // closed when the loop has ended

	snap atomic.Pointer[snapshot] // what Stats and List may see; written by the loop

	// The rest belongs to the loop.
	state   State
	busy    bool               // a worker is carrying out an effect
	waiters map[Waiter]message // who was not answered yet
	panics  int                // without a long rest between them
	rested  time.Time          // when a further panic counts as the first
}

// A message is a request on its way to a volume's loop.
type message struct {
	ev     Event
	waiter Waiter
	reply  chan Reply // room for one
	span   trace.Span // of the request; the caller ends it
	posted time.Time
}

// A snapshot is what others may know of an actor.
type snapshot struct {
	volume     Volume
	migrating  bool
	unresolved bool
	quarantine bool
	waiting    int
	oldest     time.Time
}

func newActor(id VolumeID, sup *Supervisor) *actor {
	a := &actor{
		id: id, sup: sup,
		mailbox: make(chan message, mailboxSize), news: news{wake: make(chan struct{}, 1)},
		results: make(chan Done, 1), donec: make(chan struct{}),
		waiters: map[Waiter]message{},
		state:   NewState(id, sup.rules),
	}
	a.snap.Store(&snapshot{})
	return a
}

// loop runs until the actor retires or the supervisor stops.
func (a *actor) loop() {
	defer close(a.donec)
	timer := time.NewTimer(a.sup.cfg.Linger)
	defer timer.Stop()
	for {
		select {
		case msg := <-a.mailbox:
			a.receive(msg)
		case <-a.news.wake:
			for _, ev := range a.news.take() {
				a.step(ev)
			}
		case done := <-a.results:
			a.busy = false
			a.step(done)
		case <-timer.C:
			if a.state.Idle() && a.sup.retire(a) {
				return
			}
			a.step(Tick{})
		case <-a.sup.stopping:
			a.stop()
			return
		}
		timer.Reset(a.wait())
	}
}

// wait returns how long the loop may sleep if nothing comes.
func (a *actor) wait() time.Duration {
	if at := a.state.Deadline(); !at.IsZero() {
		return time.Until(at)
	}
	return a.sup.cfg.Linger
}

func (a *actor) receive(msg message) {
	a.sup.waited(msg)
	a.waiters[msg.waiter] = msg
	a.step(msg.ev)
}

// step feeds one event to the state machine and carries out its effects. A panic costs this volume
// its state, which the box's row gives back, and nobody else anything.
func (a *actor) step(ev Event) {
	defer func() {
		if p := recover(); p != nil {
			a.recover(p)
			a.publishSnapshot()
		}
	}()
	var effects []Effect
	a.state, effects = a.sup.step(a.state, time.Now(), ev)
	a.publishSnapshot() // before anybody is answered, so that who asks next sees what was done
	for _, e := range effects {
		a.carryOut(e)
	}
}

func (a *actor) carryOut(e Effect) {
	switch e := e.(type) {
	case Reply:
		a.answer(e)
	case Joined:
		a.joined(e)
	case Announce:
		a.sup.announce(e.Announcement)
	case ReadRow, GrantRow, RevokeRow, Run, Confirm, Admit, Judge, Adopt:
		a.busy = true
		go a.work(a.context(e), e)
	}
}

func (a *actor) answer(r Reply) {
	msg, ok := a.waiters[r.Waiter]
	if !ok {
		return
	}
	delete(a.waiters, r.Waiter)
	msg.reply <- r // has room: a waiter is answered once
}

func (a *actor) answerAll(err error) {
	for w := range a.waiters {
		a.answer(Reply{Waiter: w, Err: err})
	}
}

// A volume that panics maxPanics times, never with a rest of panicRest between, is left alone.
const (
	maxPanics = 5
	panicRest = 10 * time.Minute
)

// recover puts the actor back to where a restart of the process would put it.
func (a *actor) recover(p any) {
	if time.Now().After(a.rested) {
		a.panics = 0
	}
	a.panics++
	a.rested = time.Now().Add(panicRest)
	a.logPanic(p)
	a.answerAll(fmt.Errorf("volume %s: internal fault, its state is rebuilt, retry later: %w", a.id, ErrUnavailable))

	// What is in flight goes on; its result comes before the row is read again. Its answer may be
	// lost then, so that the time in which it may land begins there.
	if a.busy {
		a.last(a.awaitResult())
	}
	rules := a.sup.rules
	rules.Quiet = later(rules.Quiet, time.Now().Add(rules.CommandTimeout))
	a.state = NewState(a.id, rules)
	a.penance()

	// Nobody may ask for a while, and yet a migration's time may run or a bounce be cut short.
	a.news.observed()
}

// awaitResult waits for the effect in flight. It is bounded by the box's own deadlines.
func (a *actor) awaitResult() Done {
	done := <-a.results
	a.busy = false
	return done
}

func (a *actor) logPanic(p any) {
	a.sup.cfg.Logger.Error("volume panicked", "volume-id", string(a.id), "panics", a.panics, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	a.sup.cfg.Hooks.panicked()
}

// penance keeps a volume that panicked from panicking at once again: it answers Unavailable for a
// while that doubles each time, and for good in the end.
func (a *actor) penance() {
	var b backoff
	for range a.panics {
		b.fail(time.Now())
	}
	timer := time.NewTimer(time.Until(b.until))
	defer timer.Stop()
	lift := timer.C
	if a.panics >= maxPanics {
		lift = nil
		a.sup.cfg.Logger.Error("volume is quarantined until the driver restarts", "volume-id", string(a.id))
	}
	for {
		a.snap.Store(&snapshot{quarantine: lift == nil})
		select {
		case <-lift:
			return
		case <-a.sup.stopping:
			return
		case <-a.news.wake:
		case msg := <-a.mailbox:
			a.sup.waited(msg)
			msg.reply <- Reply{Waiter: msg.waiter, Err: fmt.Errorf("volume %s: out of service after %d internal faults, see the driver's log: %w", a.id, a.panics, ErrUnavailable)}
		}
	}
}

// stop ends the loop for good: who waits is told so, and what is in flight is waited for.
func (a *actor) stop() {
	a.answerAll(errStopping)
	for {
		select {
		case msg := <-a.mailbox:
			msg.reply <- Reply{Waiter: msg.waiter, Err: errStopping}
			continue
		default:
		}
		break
	}
	if a.busy {
		a.last(a.awaitResult())
	}
}

// last takes the last result of a state and tells what it ended: the row records it as told, so that
// nobody will later. Nothing else is begun any more.
func (a *actor) last(done Done) {
	defer func() {
		if p := recover(); p != nil {
			a.logPanic(p)
		}
	}()
	_, effects := a.sup.step(a.state, time.Now(), done)
	for _, e := range effects {
		if e, ok := e.(Announce); ok {
			a.sup.announce(e.Announcement)
		}
	}
}

func (a *actor) publishSnapshot() {
	s := &snapshot{volume: a.state.Volume(), migrating: a.state.Migrating(), unresolved: a.state.Unresolved()}
	s.waiting, s.oldest = a.state.Waiting()
	a.snap.Store(s)
}

// joined links a retry's span to the request whose answer it shares.
func (a *actor) joined(j Joined) {
	retry, leader := a.waiters[j.Waiter], a.waiters[j.Leader]
	if retry.span != nil && leader.span != nil {
		retry.span.AddLink(trace.Link{SpanContext: leader.span.SpanContext()})
	}
	a.sup.cfg.Hooks.joined(operationOf(retry.ev))
}

// operationOf names what a request asks for.
func operationOf(ev Event) string {
	switch ev := ev.(type) {
	case Publish:
		return "publish"
	case Unpublish:
		return "unpublish"
	case TakeOver:
		return "adopt"
	case Exclusive:
		return string(ev.Op.Kind)
	case Observed, Suspected, Outcome, Done, Tick: // nobody's requests
	}
	return "unknown"
}
