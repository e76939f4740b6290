// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"fmt"
	"slices"
	"time"
)

// A world is one volume with everything around it: the actor, the row on the box, the command in
// flight, what was given up and may land yet, and what callers were told. It is a value: take returns
// another one.
type world struct {
	disk
	witness witness
	s       State
	now     time.Time
	flight  flight
	older   Volume // what the box comes back with that forgets its last write
	spare   budget
	tickets Waiter
	bounds  *bounds
	legacy  []NodeID             // attached by the older driver, by their VolumeAttachments
	note    func(string, ...any) // of a replay; nil: nobody reads it
}

// A flight is the effect in flight, and how far the box is with it.
type flight struct {
	effect Effect // nil: none
	served int    // rows of a write that the box carried out; 1: a read or an operation was
	seen   Volume // what a read or an operation answers
	dead   bool   // its session is gone: it goes no further
	says   saying // what a question is answered with
}

// A budget is what may happen yet.
type budget struct {
	requests int
	faults   int // answers lost, refusals, crashes, reboots of the box
	naps     int // times that a moment passes while anything is going on
	looks    int // times that the row is looked at again without need
}

// bounds are the limits of a world.
type bounds struct {
	name       string
	fencing    Fencing
	alphabet   []Event // what callers may ask for
	concurrent int     // requests that wait at a time
	spare      budget

	orchestrated bool // there is a cluster that is asked, and that says things by itself
}

// nap is a moment that is no deadline of anything.
const nap = 3 * time.Second

// An act is one thing that happens in a world. Its meaning is take's.
type act struct {
	verb verb
	arg  int
}

type verb byte

const (
	verbAsk     verb = iota // a caller asks for alphabet[arg]
	verbServe               // the box carries out the next row, or what was asked for
	verbAnswer              // the answer arrives
	verbLose                // the answer never arrives; rows that were not carried out may land
	verbFail                // nothing was sent: the box is away
	verbRefuse              // the box refuses
	verbSkip                // the box refuses the first of two rows and carries out the second
	verbLand                // lost[arg] lands
	verbObserve             // the row is to be looked at
	verbTick                // the actor's timer fires
	verbWait                // time passes up to the next moment at which anything changes
	verbNap                 // a moment passes
	verbCrash               // the process dies, another one starts
	verbForget              // the box reboots and comes back without its last write
	verbSuspect             // playNodes[arg] seems to be left over
	verbTell                // KubeVirt says saying(arg) of the migration by itself
)

// acts appends everything that may happen.
func (w *world) acts(to []act) []act {
	fault := w.spare.faults > 0
	add := func(v verb, arg int, may bool) {
		if may {
			to = append(to, act{v, arg})
		}
	}
	if w.spare.requests > 0 && len(w.witness.asked) < w.bounds.concurrent {
		for i := range w.bounds.alphabet {
			add(verbAsk, i, true)
		}
	}
	write, writing := writeOf(w.flight.effect)
	busy, all := w.flight.effect != nil, 1
	if writing {
		all = len(write.Rows)
	}
	_, running := w.flight.effect.(Run)
	dead := w.flight.dead
	if says := w.sayings(); len(says) > 0 && w.flight.served == 0 {
		for _, s := range says {
			add(verbServe, int(s), true)
		}
	} else {
		add(verbServe, 0, busy && !dead && w.flight.served < all)
	}
	add(verbAnswer, 0, busy && !dead && w.flight.served == all)
	add(verbLose, 0, dead || fault && (writing || running))
	add(verbFail, 0, fault && !dead && busy && w.flight.served == 0)
	add(verbRefuse, 0, fault && !dead && (writing || running) && w.flight.served == 0)
	add(verbSkip, 0, fault && !dead && all > 1 && w.flight.served == 0)
	for i := range w.lost {
		// The rows of one write land in their order.
		add(verbLand, i, i == 0 || w.lost[i-1].write != w.lost[i].write)
	}
	blank := !w.s.known && !w.s.look
	add(verbObserve, 0, blank || !w.s.again && w.s.known && w.spare.looks > 0)
	w.clusterActs(add)
	due := w.s.Deadline()
	add(verbTick, 0, !due.IsZero() && !due.After(w.now))
	add(verbWait, 0, !busy && !w.next().IsZero())
	add(verbNap, 0, w.spare.naps > 0)
	add(verbCrash, 0, fault || dead)
	add(verbForget, 0, fault && w.older.Exists && w.older.Ours && w.row.Exists && w.older.Ledger.Gen < w.row.Ledger.Gen)
	return to
}

// next returns the next moment at which anything changes by itself, and the zero time if there is none.
func (w *world) next() time.Time {
	var at time.Time
	see := func(t time.Time) {
		if t.After(w.now) && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	see(w.s.Deadline())
	see(w.s.rules.Quiet)
	for _, l := range w.lost {
		see(l.at.Add(testRules.CommandTimeout))
	}
	if w.s.known && !w.s.Unresolved() {
		see(w.s.readAt.Add(testRules.Fresh + time.Millisecond))
	}
	if b := w.s.vol.Ledger.Bounce; b != 0 {
		see(b.Time().Add(testRules.BounceGap))
	}
	return at
}

// clone returns a copy that shares nothing that take changes. States are never changed.
func (w *world) clone() *world {
	c := *w
	c.lost = slices.Clone(w.lost)
	c.witness = w.witness.clone()
	return &c
}

// take returns the world after an act, and the promise that it broke, if any.
func (w *world) take(a act) (*world, error) {
	c := w.clone()
	if err := c.happen(a); err != nil {
		return c, err
	}
	c.expire(c.now)
	if err := c.witness.holds(&c.disk); err != nil {
		return c, err
	}
	if err := c.live(); err != nil {
		return c, err
	}
	return c, c.witness.atRest(&c.disk, c.s, c.now)
}

// live reports an actor that has ceased to care for who waits, or that would not sleep.
func (w *world) live() error {
	if (w.flight.effect != nil) != (w.s.inflight != inflightNone) {
		return fmt.Errorf("P2: in flight is %#v, the actor waits for %v", w.flight.effect, w.s.inflight)
	}
	if len(w.witness.asked) > 0 && w.s.inflight == inflightNone && w.s.Deadline().IsZero() {
		return fmt.Errorf("P3: nobody cares for %+v any more", w.witness.asked)
	}
	return nil
}

func (w *world) happen(a act) error {
	switch a.verb {
	case verbAsk:
		w.spare.requests--
		return w.ask(w.bounds.alphabet[a.arg])
	case verbServe:
		w.flight.says = saying(a.arg)
		return w.serve()
	case verbAnswer:
		return w.answer()
	case verbLose:
		return w.lose()
	case verbFail:
		w.spare.faults--
		return w.fail(ErrUnavailable)
	case verbRefuse:
		w.spare.faults--
		return w.fail(ErrPrecondition)
	case verbSkip:
		w.spare.faults--
		w.flight.served++
		err := w.serve()
		w.flight.dead = true // who asked learns that it is not known
		return err
	case verbLand:
		l := w.lost[a.arg]
		w.lost = slices.Delete(w.lost, a.arg, a.arg+1)
		return w.land(l)
	case verbObserve:
		if w.s.known {
			w.spare.looks--
		}
		return w.step(Observed{})
	case verbTick:
		return w.step(Tick{})
	case verbWait:
		w.now = w.next()
	case verbNap:
		w.spare.naps--
		w.now = w.now.Add(nap)
	case verbCrash:
		if !w.flight.dead { // else the one fault may have come of the other
			w.spare.faults--
		}
		w.crash()
	case verbForget:
		w.spare.faults--
		return w.forget()
	case verbSuspect:
		w.spare.looks--
		return w.step(Suspected{Nodes: []NodeID{playNodes[a.arg]}})
	case verbTell:
		w.spare.looks--
		return w.tellOutcome(saying(a.arg))
	}
	return nil
}

// step feeds an event to the actor and sees to what it wants done.
func (w *world) step(ev Event) error {
	s, effects := Step(w.s, w.now, ev)
	w.s = s
	for _, e := range effects {
		if w.note != nil {
			w.note("      %s", brief(e))
		}
		if err := w.effect(e); err != nil {
			return err
		}
	}
	if at := s.Deadline(); !at.IsZero() && !at.After(w.now) {
		return fmt.Errorf("the deadline is %v, now is %v and nothing is done: the loop would not sleep", at, w.now)
	}
	return nil
}

func (w *world) effect(e Effect) error {
	switch e := e.(type) {
	case Reply:
		return w.witness.answered(&w.disk, e, w.now)
	case Announce:
		return w.witness.announced(&w.disk, e.Announcement)
	case ReadRow, GrantRow, RevokeRow, Run, Confirm, Admit, Judge, Adopt:
		if w.flight.effect != nil {
			return fmt.Errorf("P2: %#v while %#v is in flight", e, w.flight.effect)
		}
		w.flight = flight{effect: e}
		return w.witness.sent(&w.disk, e, w.now)
	case Joined:
	}
	return nil
}

func (w *world) ask(ev Event) error {
	w.tickets++
	ev = withWaiter(ev, w.tickets)
	w.witness.ask(ev)
	return w.step(ev)
}

// serve has the box do the next part of what is in flight.
func (w *world) serve() error {
	w.flight.served++
	switch e := w.flight.effect.(type) {
	case GrantRow:
		w.now = w.now.Add(time.Millisecond) // so that no two grants have one time
		return w.land(lostRow{row: e.Write.Rows[w.flight.served-1]})
	case RevokeRow:
		return w.land(lostRow{row: e.Write.Rows[w.flight.served-1]})
	case Run:
		if err := w.land(lostRow{op: e.Op.Kind}); err != nil {
			return err
		}
	case Confirm:
		w.vanished(e)
		return nil
	case Judge:
		w.decided(w.flight.says)
		return nil
	case Admit, Adopt:
		return nil
	case ReadRow, Reply, Joined, Announce:
	}
	w.flight.seen = w.row
	return nil
}

// land has the box carry out a row or an operation, in time or late.
func (w *world) land(l lostRow) error {
	before := w.row
	if l.op != "" {
		w.operate(l.op, created(w.bounds.fencing))
	} else if !w.put(l.row) {
		return nil
	}
	w.older = before
	return w.witness.landed(&w.disk, before, false)
}

// answer has what the box did reach the actor.
func (w *world) answer() error {
	if done, asked := w.said(); asked {
		w.flight = flight{}
		return w.step(done)
	}
	done := Done{Volume: w.flight.seen}
	w.acked = max(w.acked, done.Volume.Ledger.Gen)
	if write, ok := writeOf(w.flight.effect); ok {
		done.Volume = Volume{}
		if w.row.Exists {
			w.acknowledge(write.last())
		} else {
			done.Err = ErrNotFound
		}
	}
	w.flight = flight{}
	return w.step(done)
}

func (w *world) lose() error {
	if _, reading := w.flight.effect.(ReadRow); reading {
		return w.fail(ErrUnavailable)
	}
	if !w.flight.dead {
		w.spare.faults--
	}
	w.drop()
	return w.step(Done{Err: ErrUnresolved})
}

// drop gives up what is in flight: it may land, as far as it has not.
func (w *world) drop() {
	if write, ok := writeOf(w.flight.effect); ok && !w.flight.dead {
		w.giveUp(late(write.Rows, w.flight.served), w.now)
	}
	if run, ok := w.flight.effect.(Run); ok && w.flight.served == 0 && !w.flight.dead {
		w.lost = append(w.lost, lostRow{op: run.Op.Kind, at: w.now})
	}
	w.flight = flight{}
}

func (w *world) fail(kind error) error {
	w.flight = flight{}
	return w.step(Done{Volume: Volume{ID: testVolume}, Err: kind})
}

// crash ends the process at this moment. Another one takes a while to start.
func (w *world) crash() {
	w.drop()
	w.witness.crashed(&w.disk)
	w.now = w.now.Add(time.Millisecond)
	rules := w.bounds.rules()
	rules.Quiet = w.now.Add(testRules.CommandTimeout)
	w.s = NewState(testVolume, rules)
}

// forget reboots the box, which comes back without its last write. What it had not begun dies with its
// sessions; an answer may be on its way.
func (w *world) forget() error {
	before := w.row
	w.row, w.older, w.lost, w.stray = w.older, Volume{}, nil, false
	w.now = w.now.Add(time.Second)
	if write, ok := writeOf(w.flight.effect); ok {
		w.flight.dead = w.flight.served < len(write.Rows)
	} else if len(w.sayings()) == 0 {
		w.flight.dead = w.flight.effect != nil && w.flight.served == 0
	}
	if before.Ledger.Gen > max(w.acked, w.newest()) {
		w.witness.amnesia(&w.disk)
	}
	return w.witness.landed(&w.disk, before, true)
}

// newest returns the newest gen that the living process has sent.
func (w *world) newest() uint64 {
	var gen uint64
	if w.s.settling != nil {
		gen = w.s.settling.gen
	}
	if write, ok := writeOf(w.flight.effect); ok {
		gen = max(gen, write.last().Ledger.Gen)
	}
	return gen
}
