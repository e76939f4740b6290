// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// A worldKey stands for all worlds that behave alike: those that differ in when they are, in which
// node is which, in how far apart generations and tokens are that are only compared, and in how long
// ago it was what is over.
//
// That Step does not tell such worlds apart: it compares times with now, tokens and generations with
// one another, and nodes for equality.
type worldKey [16]byte

func (w *world) key(e *encoder) worldKey {
	e.reset(w.now)
	e.world(w) // for the tokens
	slices.Sort(e.tokens)
	e.tokens = slices.Compact(e.tokens)
	e.emit, e.out = true, e.out[:0]
	e.nodes, e.waiters = e.nodes[:0], e.waiters[:0]
	e.world(w)
	sum := sha256.Sum256(e.out)
	return worldKey(sum[:16])
}

// An encoder writes a world in its canonical form, in two walks: the first one collects the tokens.
type encoder struct {
	emit    bool
	out     []byte
	now     time.Time
	gen     uint64 // the least
	tokens  []Token
	nodes   []NodeID // in the order in which they appear
	waiters []Waiter
	seats   [][]byte
}

func (e *encoder) reset(now time.Time) {
	e.emit, e.out, e.now, e.tokens = false, e.out[:0], now, e.tokens[:0]
	e.nodes, e.waiters, e.gen = e.nodes[:0], e.waiters[:0], 1<<63
}

func (e *encoder) num(n int64) { e.out = binary.AppendVarint(e.out, n) }

func (e *encoder) flags(bs ...bool) {
	for _, b := range bs {
		e.num(int64(count(b)))
	}
}

// token writes the rank of a token that is over, and how far off one is that is not.
func (e *encoder) token(t Token) {
	now := TokenAt(e.now)
	switch {
	case !e.emit && t != 0 && t < now:
		e.tokens = append(e.tokens, t)
	case t == 0:
		e.num(0)
	case t >= now:
		e.num(int64(t-now) + 1)
	default:
		i, _ := slices.BinarySearch(e.tokens, t)
		e.num(int64(i - len(e.tokens)))
	}
}

// due writes how far off a point in time is; one that has come has come.
func (e *encoder) due(t time.Time) { e.num(int64(max(0, t.Sub(e.now)))) }

// since writes how long ago it was, up to the time from which on that does not matter.
func (e *encoder) since(t time.Time, most time.Duration) {
	if t.IsZero() {
		e.num(-1)
		return
	}
	e.num(int64(min(e.now.Sub(t), most)))
}

func (e *encoder) generation(g uint64) {
	if g == 0 {
		e.num(-1)
		return
	}
	if !e.emit {
		e.gen = min(e.gen, g)
	}
	e.num(int64(g - e.gen))
}

func (e *encoder) node(n NodeID) {
	if n == "" {
		e.num(0)
		return
	}
	i := slices.Index(e.nodes, n)
	if i < 0 {
		e.nodes = append(e.nodes, n)
		i = len(e.nodes) - 1
	}
	e.num(int64(i) + 1)
}

func (e *encoder) waiter(w Waiter) {
	i := slices.Index(e.waiters, w)
	if i < 0 {
		e.waiters = append(e.waiters, w)
		i = len(e.waiters) - 1
	}
	e.num(int64(i))
}

func (e *encoder) nqn(nqn string) {
	_, epoch, ok := strings.Cut(nqn, string(testVolume)+".")
	var t Token
	if ok {
		t, _ = parseToken(epoch)
	}
	e.flags(nqn != "")
	e.token(t)
}

func (e *encoder) allowed(nqn string) {
	for _, node := range playNodes {
		if playHosts[node] == nqn {
			e.node(node)
			return
		}
	}
	e.num(-1)
}

func (e *encoder) told(s string) {
	kind, token, _ := strings.Cut(s, ".")
	var t Token
	if token != "" {
		t, _ = parseToken(token)
	}
	e.num(int64(len(kind))) // no two kinds are of one length, but pending and success, timeout
	e.out = append(e.out, kind...)
	e.token(t)
}

func (e *encoder) ledger(l Ledger) {
	e.generation(l.Gen)
	e.token(l.Epoch)
	e.num(int64(l.Fencing))
	e.num(int64(l.Timeout))
	e.num(int64(l.Port))
	e.num(int64(l.Access))
	e.num(int64(len(l.Grants)))
	for _, g := range l.Grants {
		e.node(g.Node)
		e.token(g.At)
	}
	e.told(l.Told)
	e.node(l.Left)
	if mg, ok := l.migration(); ok && !mg.told {
		e.since(mg.start, time.Duration(l.Timeout)*time.Second)
	}
	e.token(l.Bounce)
	if l.Bounce != 0 {
		e.since(l.Bounce.Time(), testRules.BounceGap)
	}
	e.flags(l.Off, l.Prefix == "", l.Cluster == testCluster)
}

func (e *encoder) row(r Row) {
	e.flags(r.Export)
	e.nqn(r.NQN)
	e.allowed(r.AllowHost)
	e.ledger(r.Ledger)
}

func (e *encoder) volume(v Volume) {
	e.flags(v.Exists, v.Ours)
	if v.Exists {
		e.num(v.Size)
		e.num(int64(v.Port))
		e.row(rowOf(v))
	}
}

func (e *encoder) event(ev Event) {
	switch ev := ev.(type) {
	case Publish:
		e.num(1)
		e.node(ev.Node)
		e.num(int64(ev.Access))
		e.waiter(ev.Waiter)
	case Unpublish:
		e.num(2)
		e.node(ev.Node)
		e.flags(ev.Lost != "", ev.Stale)
		e.waiter(ev.Waiter)
	case Exclusive:
		e.num(3)
		e.op(ev.Op)
		e.waiter(ev.Waiter)
	case TakeOver:
		e.num(4)
		e.num(int64(len(ev.From)))
		e.generation(ev.Gen)
		e.flags(ev.Force)
		e.waiter(ev.Waiter)
	case Observed, Suspected, Outcome, Done, Tick: // nobody waits for these
	}
}

func (e *encoder) op(op Operation) {
	e.num(int64(len(op.Kind)))
	e.out = append(append(e.out, op.Kind...), op.Key...)
}

// effect writes what is in flight; the rows are those of State.sent.
func (e *encoder) effect(f Effect) {
	switch f := f.(type) {
	case nil:
		e.num(0)
	case ReadRow:
		e.num(1)
	case GrantRow:
		e.num(2)
		e.rows(f.Write.Rows)
	case RevokeRow:
		e.num(3)
		e.rows(f.Write.Rows)
	case Run:
		e.num(4)
		e.op(f.Op)
	case Confirm:
		e.num(5)
		e.node(f.Node)
	case Admit:
		e.num(6)
		e.node(f.Target)
	case Judge:
		e.num(7)
	case Adopt:
		e.num(8)
	case Reply, Joined, Announce: // are never in flight
	}
}

func (e *encoder) rows(rows []Row) {
	e.num(int64(len(rows)))
	for _, r := range rows {
		e.row(r)
	}
}

func (e *encoder) requests(rs []request) {
	e.num(int64(len(rs)))
	for _, r := range rs {
		e.num(int64(r.kind))
		e.node(r.node)
		e.num(int64(r.access))
		e.flags(r.lost != "", r.stale, r.judged, r.force)
		e.num(int64(len(r.from)))
		e.generation(r.gen)
		e.node(r.admitted)
		e.op(r.op)
		e.num(int64(len(r.waiters)))
		for _, w := range r.waiters {
			e.waiter(w)
		}
	}
}

func (e *encoder) backoff(b backoff) {
	e.num(int64(min(b.failures, 5))) // from which on the spacing does not grow
	e.due(b.until)
}

func (e *encoder) announcements(as []announcing) {
	e.num(int64(len(as)))
	for _, a := range as {
		e.num(int64(a.a.Kind))
		e.node(a.a.Node)
		e.node(a.a.Source)
		e.node(a.a.Target)
		if a.a.Kind >= MigrationCompleted { // of the others it is told how long they took, and that is all
			e.token(TokenAt(a.since))
		}
	}
}

// The fields that the encoder knows. What is added to these types is to be written above, or is left
// out for a reason: request.since, Announcement.Grant and State.id, which decide nothing; Rules but for Quiet, which are
// one for all.
var encodedFields = map[reflect.Type]int{
	reflect.TypeFor[State](): 22, reflect.TypeFor[settlement](): 13, reflect.TypeFor[request](): 15,
	reflect.TypeFor[Volume](): 9, reflect.TypeFor[Row](): 4, reflect.TypeFor[Ledger](): 13, reflect.TypeFor[Grant](): 2,
	reflect.TypeFor[Rules](): 6, reflect.TypeFor[Publish](): 5, reflect.TypeFor[Unpublish](): 4, reflect.TypeFor[Exclusive](): 2, reflect.TypeFor[TakeOver](): 4,
	reflect.TypeFor[word](): 4, reflect.TypeFor[backoff](): 2, reflect.TypeFor[announcing](): 2, reflect.TypeFor[Announcement](): 12,
	reflect.TypeFor[witness](): 5, reflect.TypeFor[seat](): 5, reflect.TypeFor[fate](): 9,
	reflect.TypeFor[disk](): 5, reflect.TypeFor[lostRow](): 4, reflect.TypeFor[flight](): 5, reflect.TypeFor[budget](): 4,
}

func TestTheExplorationForgetsNoField(t *testing.T) {
	for typ, want := range encodedFields {
		if got := typ.NumField(); got != want {
			t.Errorf("%v has %d fields, the exploration's key knows %d: write the new ones in explore_key_test.go", typ, got, want)
		}
	}
}

// word writes what KubeVirt said; without an orchestrator it has never said anything.
func (e *encoder) word(w word) {
	e.node(w.m.Source)
	e.node(w.m.Target)
	e.flags(w.absent, w.news, w.m.Started.IsZero())
	e.due(w.m.Started)
	e.since(w.m.Started, w.m.Limit)
	e.num(int64(w.m.Limit))
	e.num(int64(w.m.Verdict))
	e.since(w.asked, verdictLook)
}

func (e *encoder) state(s State) {
	e.volume(s.vol)
	e.flags(s.known, s.look, s.again)
	e.since(s.readAt, s.rules.Fresh+time.Millisecond)
	e.token(s.epoch)
	e.num(int64(s.inflight))
	if s.inflight != inflightNone { // it is overwritten before it is read again
		e.rows(s.sent.Rows)
	}
	e.requests(s.queue)
	e.backoff(s.backoff)
	e.backoff(s.entries)
	e.num(int64(len(s.refused)))
	for _, n := range s.refused {
		e.node(n)
	}
	e.announcements(s.toTell)
	e.word(s.word)
	e.backoff(s.asking)
	e.flags(s.ruleBy.IsZero(), s.silentBy.IsZero())
	e.due(s.ruleBy)
	e.due(s.silentBy)
	e.num(int64(len(s.suspects)))
	for _, n := range s.suspects {
		e.node(n)
	}
	e.node(s.confirming)
	e.due(s.rules.Quiet)
	e.flags(s.settling != nil)
	if st := s.settling; st != nil {
		e.row(st.row)
		e.generation(st.gen)
		e.flags(st.blind, st.bounce, st.fence, st.acked)
		e.due(st.bounceAt)
		e.due(st.over)
		e.due(st.due)
		e.backoff(st.tries)
		e.num(int64(min(st.strays, 2)))
		e.requests(st.held)
		e.announcements(st.toTell)
	}
}

func (e *encoder) world(w *world) {
	e.state(w.s)
	e.volume(w.row)
	e.volume(w.older)
	e.generation(w.acked)
	e.flags(w.stray)
	e.effect(w.flight.effect)
	e.num(int64(w.flight.served))
	e.flags(w.flight.dead)
	e.num(int64(w.flight.says))
	e.num(int64(len(w.legacy)))
	for _, n := range w.legacy {
		e.node(n)
	}
	e.volume(w.flight.seen)
	e.num(int64(len(w.lost)))
	for i, l := range w.lost {
		e.op(Operation{Kind: l.op})
		if l.op == "" {
			e.row(l.row)
		}
		e.due(l.at.Add(testRules.CommandTimeout))
		e.flags(i > 0 && l.write == w.lost[i-1].write)
	}
	e.num(int64(w.spare.requests))
	e.num(int64(w.spare.faults))
	e.num(int64(w.spare.naps))
	e.num(int64(w.spare.looks))
	e.observed(&w.witness)
	if !w.row.Exists { // a row that is created begins to count anew
		e.num(int64(e.gen))
	}
}

// observed writes what the witness knows. The seats come last: those of nodes that were named in the
// order in which they were, the others' by what is in them.
func (e *encoder) observed(w *witness) {
	e.token(w.epoch)
	e.num(int64(len(w.asked)))
	for _, a := range w.asked {
		e.event(a.ev)
	}
	e.num(int64(len(w.fates)))
	for _, f := range w.fates {
		e.node(f.source)
		e.node(f.target)
		e.token(f.token)
		e.flags(f.started, f.unsure, f.heard, f.ruled)
		e.num(int64(f.outcomes))
		e.num(int64(f.final))
	}
	named := len(e.nodes)
	for _, n := range e.nodes[:named] {
		if i := slices.IndexFunc(w.seats, func(s seat) bool { return s.node == n }); i >= 0 {
			e.seat(w.seats[i])
		}
	}
	e.seats = e.seats[:0]
	start := len(e.out)
	for _, s := range w.seats {
		if !slices.Contains(e.nodes[:named], s.node) {
			at := len(e.out)
			e.seat(s)
			e.seats = append(e.seats, bytes.Clone(e.out[at:]))
		}
	}
	slices.SortFunc(e.seats, bytes.Compare)
	e.out = e.out[:start]
	for _, b := range e.seats {
		e.out = append(e.out, b...)
	}
}

func (e *encoder) seat(s seat) {
	e.flags(s.told, s.live, s.off)
	e.nqn(s.nqn)
}
