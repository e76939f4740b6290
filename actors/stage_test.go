// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"errors"
	"reflect"
	"testing"
	"time"
)

const (
	testVolume  = VolumeID("pvc-0b5e1d4e-3b1c-4f0e-9a57-2f0d6f6d0a11")
	testCluster = "0123456789ab"
	testPrefix  = "nqn.2000-02.com.mikrotik"
)

var testRules = Rules{
	Cluster: testCluster, CommandTimeout: 10 * time.Second,
	BounceGap: 30 * time.Second, Fresh: 30 * time.Second,
}

var testStart = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// A stage plays one volume's Step against a box row, one event at a time. Its verbs are what
// happens in the world; its wants are what must be seen.
type stage struct {
	t   testing.TB
	s   State
	now time.Time

	disk            // what the box shows, and what may land yet
	cluster cluster // what the orchestrator answers
	pending Effect  // the effect in flight
	sent    []Write

	landed func(before Volume) // called when the box has carried out a row's write; nil: nobody is
	noted  func(Effect)        // called with each effect; nil: nobody is

	tickets Waiter
	replies map[Waiter]Reply
	joined  map[Waiter]Waiter
	told    []Announcement
}

// A cluster is what an orchestrator answers to the questions about one volume.
type cluster struct {
	stale     map[NodeID]error // nil: it is
	lost      string           // of whoever is stale
	wasLost   string           // as it was told last
	admit     error
	migration Migration
	silence   error // in place of the migration
	adoption  Adoption
	foreign   error // in place of the adoption
	asked     []Effect
}

// answer is what the cluster says to a question, and false where e is none.
func (c *cluster) answer(e Effect) (Done, bool) {
	done := Done{}
	switch e := e.(type) {
	case Confirm:
		c.wasLost = c.lost
		done = Done{Lost: c.lost, Err: c.stale[e.Node]}
	case Admit:
		done = Done{Err: c.admit}
	case Judge:
		done = Done{Migration: c.migration, Err: c.silence}
	case Adopt:
		done = Done{Adoption: c.adoption, Err: c.foreign}
	case ReadRow, GrantRow, RevokeRow, Run, Reply, Joined, Announce:
		return Done{}, false
	}
	c.asked = append(c.asked, e)
	return done, true
}

// newStage begins with a volume as CreateVolume leaves it.
func newStage(t testing.TB, fencing Fencing) *stage {
	st := &stage{
		t: t, now: testStart, s: NewState(testVolume, testRules),
		replies: map[Waiter]Reply{}, joined: map[Waiter]Waiter{},
	}
	st.row = created(fencing)
	return st
}

// newOrchestratedStage begins with a volume in a cluster whose orchestrator is asked.
func newOrchestratedStage(t testing.TB, fencing Fencing) *stage {
	st := newStage(t, fencing)
	rules := testRules
	rules.Orchestrated = true
	st.restart(rules)
	return st
}

func created(fencing Fencing) Volume {
	return Volume{
		ID: testVolume, Exists: true, Size: 1 << 30, Port: 4420, NQN: NQN(testPrefix, testVolume, 0), Ours: true,
		Ledger: Ledger{Cluster: testCluster, Gen: 1, Fencing: fencing, Timeout: 300, Port: 4420},
	}
}

// restart begins anew with what the box shows, as a new process does: of a ledger that is what was written.
func (st *stage) restart(rules Rules) {
	if st.row.Exists && st.row.Ours {
		l, _, err := ParseLedger(st.row.Ledger.String())
		if err != nil {
			st.t.Fatal(err)
		}
		st.row.Ledger = l
	}
	st.s, st.pending = NewState(testVolume, rules), nil
	st.acked = 0
}

// do feeds one event to Step and sorts what it wants done.
func (st *stage) do(ev Event) {
	st.t.Helper()
	before := st.s.clone()
	s, effects := Step(st.s, st.now, ev)
	if !reflect.DeepEqual(before, st.s.clone()) {
		st.t.Fatalf("Step changed its input on %#v", ev)
	}
	st.s = s
	for _, e := range effects {
		st.note(e)
	}
	if at := s.Deadline(); !at.IsZero() && !at.After(st.now) {
		st.t.Fatalf("the deadline is %v, now is %v and nothing is done: the loop would not sleep", at, st.now)
	}
}

func (st *stage) note(e Effect) {
	switch e := e.(type) {
	case Reply:
		if _, twice := st.replies[e.Waiter]; twice {
			st.t.Fatalf("waiter %d was answered twice", e.Waiter)
		}
		st.replies[e.Waiter] = e
	case Joined:
		st.joined[e.Waiter] = e.Leader
	case Announce:
		st.told = append(st.told, e.Announcement)
	case ReadRow, GrantRow, RevokeRow, Run, Confirm, Admit, Judge, Adopt:
		if st.pending != nil {
			st.t.Fatalf("%#v while %#v is in flight", e, st.pending)
		}
		st.pending = e
		if w, ok := writeOf(e); ok {
			st.sent = append(st.sent, w)
		}
	}
	if st.noted != nil {
		st.noted(e)
	}
}

func writeOf(e Effect) (Write, bool) {
	switch e := e.(type) {
	case GrantRow:
		return e.Write, true
	case RevokeRow:
		return e.Write, true
	case ReadRow, Run, Confirm, Admit, Judge, Adopt, Reply, Joined, Announce:
	}
	return Write{}, false
}

func (st *stage) publish(node NodeID, access Access) Waiter {
	st.t.Helper()
	st.tickets++
	w := st.tickets
	st.do(Publish{Waiter: w, Node: node, Access: access})
	return w
}

func (st *stage) unpublish(node NodeID, lost string) Waiter {
	st.t.Helper()
	st.tickets++
	w := st.tickets
	st.do(Unpublish{Waiter: w, Node: node, Lost: lost})
	return w
}

func (st *stage) exclusive(kind OpKind, key string) Waiter {
	st.t.Helper()
	st.tickets++
	w := st.tickets
	st.do(Exclusive{Waiter: w, Op: Operation{Kind: kind, Key: key}})
	return w
}

// land makes the box carry out a row's write.
func (st *stage) land(row Row) {
	before := st.row
	if st.put(row) && st.landed != nil {
		st.landed(before)
	}
}

// finish lets the box carry out and answer whatever is in flight, until nothing is.
func (st *stage) finish() {
	st.t.Helper()
	for range 1000 {
		if st.pending == nil {
			return
		}
		st.answer()
	}
	st.t.Fatalf("what is in flight never ends, it is %#v", st.pending)
}

// answer lets the box carry out and answer the effect in flight.
func (st *stage) answer() {
	st.t.Helper()
	e := st.pending
	st.pending = nil
	if w, ok := writeOf(e); ok {
		if !st.row.Exists {
			st.do(Done{Err: ErrNotFound})
			return
		}
		for _, row := range w.Rows {
			st.land(row)
			st.acknowledge(row)
		}
	}
	if done, ok := st.cluster.answer(e); ok {
		st.do(done)
		return
	}
	if run, ok := e.(Run); ok {
		st.operate(run.Op.Kind, created(FencingHost))
	}
	st.do(Done{Volume: st.row})
}

// crash ends the process. What it has sent may land for a while after the next one has started.
func (st *stage) crash() {
	rules := testRules
	rules.Quiet = st.now.Add(testRules.CommandTimeout)
	st.restart(rules)
}

// isBounce reports whether a write takes the export off and turns it on again.
func isBounce(w Write) bool { return len(w.Rows) == 3 }

// lose loses the answer to the write in flight: the first n of its rows land now, the others are
// kept for landLate.
func (st *stage) lose(n int) {
	st.t.Helper()
	w, ok := writeOf(st.pending)
	if !ok {
		st.t.Fatalf("%#v is in flight, want a write", st.pending)
	}
	st.pending = nil
	for _, row := range w.Rows[:n] {
		st.land(row)
	}
	st.giveUp(late(w.Rows, n), st.now)
	st.do(Done{Err: ErrUnresolved})
}

// fail answers the effect in flight with an error.
func (st *stage) fail(err error) {
	st.t.Helper()
	if st.pending == nil {
		st.t.Fatal("nothing is in flight")
	}
	st.pending = nil
	st.do(Done{Volume: Volume{ID: testVolume}, Err: err})
}

// landLate makes the box carry out what was lost.
func (st *stage) landLate() {
	for _, l := range st.lost {
		st.land(l.row)
	}
	st.lost = nil
}

// sleep lets time pass; timers fire when they are due, and the box answers at once.
func (st *stage) sleep(d time.Duration) {
	st.t.Helper()
	end := st.now.Add(d)
	for range 10000 {
		st.finish()
		at := st.s.Deadline()
		if at.IsZero() || at.After(end) {
			st.now = end
			st.finish()
			return
		}
		st.now = at
		st.do(Tick{})
	}
	st.t.Fatalf("at %v something is due over and over", st.now)
}

// settle lets time pass until no write is unresolved.
func (st *stage) settle() {
	st.t.Helper()
	for range 100 {
		st.finish()
		if !st.s.Unresolved() {
			return
		}
		st.sleep(st.s.Deadline().Sub(st.now))
	}
	st.t.Fatal("the volume does not settle")
}

// attach publishes and lets the box answer.
func (st *stage) attach(access Access, nodes ...NodeID) {
	st.t.Helper()
	for _, node := range nodes {
		w := st.publish(node, access)
		st.finish()
		st.wantReply(w, nil)
		st.now = st.now.Add(time.Second)
	}
}

func (st *stage) wantReply(w Waiter, kind error) {
	st.t.Helper()
	r, ok := st.replies[w]
	switch {
	case !ok:
		st.t.Fatalf("waiter %d was not answered", w)
	case !errors.Is(r.Err, kind) || r.Err != nil && kinds(r.Err) != 1:
		st.t.Fatalf("waiter %d got %v of %d kinds, want %v", w, r.Err, kinds(r.Err), kind)
	}
}

// kinds returns of how many kinds an error is.
func kinds(err error) (n int) {
	for _, kind := range append([]error{ErrUnresolved}, answers...) {
		n += count(errors.Is(err, kind))
	}
	return n
}

func (st *stage) wantNoReply(w Waiter) {
	st.t.Helper()
	if r, ok := st.replies[w]; ok {
		st.t.Fatalf("waiter %d was answered (%v), want none yet", w, r.Err)
	}
}

func (st *stage) wantGranted(nodes ...NodeID) {
	st.t.Helper()
	var got []NodeID
	for _, g := range st.row.Ledger.Grants {
		got = append(got, g.Node)
	}
	if !reflect.DeepEqual(got, nodes) {
		st.t.Fatalf("the box grants %v, want %v", got, nodes)
	}
}

func (st *stage) wantTold(kinds ...AnnouncementKind) {
	st.t.Helper()
	var got []AnnouncementKind
	for _, a := range st.told {
		got = append(got, a.Kind)
	}
	if !reflect.DeepEqual(got, kinds) {
		st.t.Fatalf("told %v, want %v", got, kinds)
	}
	st.told = nil
}

func (st *stage) wantIdle() {
	st.t.Helper()
	if !st.s.Idle() {
		st.t.Fatalf("the actor is not idle: %+v", st.s)
	}
}
