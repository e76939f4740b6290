// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"errors"
	"reflect"
	"testing"
)

// A play is a stage whose promises are checked after every act.
type play struct {
	*stage
	rules  Rules
	asked  map[Waiter]Event
	older  Volume // the row before the last answer
	writes int    // writes that were checked
	told   int    // announcements that were checked
	epoch  Token

	// Of migrations, by the time of their target's grant.
	started  []Token
	outcomes map[Token]int
	unsure   map[Token]bool // a crash may have come between the box's answer and the telling

	// The nodes as the box's target sees them. Each tries to stay connected until it confirmed its
	// detach, the lost ones for good.
	holds map[NodeID]string // the NQN that a node was told of
	live  map[NodeID]bool   // it is connected
}

func newPlay(t testing.TB, rules Rules, fencing Fencing, prefix string) *play {
	st := newStage(t, fencing)
	st.restart(rules)
	if prefix != "" {
		st.row.NQN, st.row.Ledger.Prefix = NQN(prefix, testVolume, 0), prefix
	}
	p := &play{
		stage: st, rules: rules, asked: map[Waiter]Event{},
		outcomes: map[Token]int{}, unsure: map[Token]bool{},
		holds: map[NodeID]string{}, live: map[NodeID]bool{},
	}
	nqn := p.row.NQN
	p.landed = func(row Row) {
		if !row.Export || row.NQN != nqn {
			clear(p.live)
		}
		nqn = row.NQN
		p.connect()
	}
	return p
}

// connect has every node connect that is let in.
func (p *play) connect() {
	for node, nqn := range p.holds {
		if p.row.Export && nqn == p.row.NQN && (p.row.AllowHost == "" || p.row.AllowHost == HostOf(testCluster, node).NQN) {
			p.live[node] = true
		}
	}
}

// leave has a node disconnect.
func (p *play) leave(node NodeID) {
	delete(p.holds, node)
	delete(p.live, node)
}

// confirm has a node disconnect whose detach is asked for without force.
func (p *play) confirm(ev Unpublish) {
	if ev.Lost == "" && ev.Node != "" {
		p.leave(ev.Node)
	}
}

// check holds what has happened since the last check to the promises.
func (p *play) check() {
	p.t.Helper()
	p.expire()
	if p.row.Exists {
		if err := p.row.Ledger.check(); err != nil {
			p.t.Fatalf("P1: the box shows a ledger with %v", err)
		}
		p.hiddenChangesNothing()
	}
	for _, w := range p.sent[p.writes:] {
		p.written(w)
	}
	p.writes = len(p.sent)
	for _, epoch := range p.epochs {
		if p.row.Ledger.Fencing != FencingNone && epoch <= p.epoch {
			p.t.Fatalf("epoch %v after %v", epoch, p.epoch)
		}
		p.epoch = epoch
	}
	p.epochs = nil
	for _, a := range p.stage.told[p.told:] {
		p.announced(a)
	}
	p.told = len(p.stage.told)
	for _, lost := range []bool{false, true} { // a confirmed detach joins a forced one
		for w, ev := range p.asked {
			un, _ := ev.(Unpublish)
			if r, ok := p.replies[w]; ok && lost == (un.Lost != "") {
				p.answered(ev, r)
				delete(p.asked, w)
			}
		}
	}
	p.restartChangesNothing()
}

// hiddenChangesNothing holds that a row which hid its NQN and port while the export is off would be read
// as it is.
func (p *play) hiddenChangesNothing() {
	p.t.Helper()
	l := p.row.Ledger
	if l.Port != p.row.Port {
		p.t.Fatalf("P4: port %d, and in the ledger %d", p.row.Port, l.Port)
	}
	if nqn := l.NQN(testVolume); nqn != p.row.NQN && (nqn != "" || !p.row.Export || len(l.Grants) < 2 && l.Left == "") {
		p.t.Fatalf("P4: NQN %s, and by the ledger %s", p.row.NQN, l)
	}
}

func (p *play) written(w Write) {
	p.t.Helper()
	last := w.last()
	if grants := len(last.Ledger.Grants) > len(p.row.Ledger.Grants); grants && !w.Revoke && len(p.lost) > 0 {
		p.t.Fatalf("P2: granted %+v while %+v may land", last, p.lost)
	}
	for i, row := range w.Rows {
		if row.Ledger.Gen <= p.acked && p.writes == len(p.sent)-1 && p.pending != nil {
			p.t.Fatalf("gen %d is written after %d was acknowledged", row.Ledger.Gen, p.acked)
		}
		if i > 0 && row.Ledger.Gen != w.Rows[i-1].Ledger.Gen+1 {
			p.t.Fatalf("gens of one write: %+v", w.Rows)
		}
	}
}

func (p *play) announced(a Announcement) {
	p.t.Helper()
	switch a.Kind {
	case MigrationStarted:
		mg, ok := p.s.vol.Ledger.migration()
		if !ok || mg.source.Node != a.Source || mg.target.Node != a.Target {
			p.t.Fatalf("P5: told %+v, the ledger is %v", a, p.s.vol.Ledger)
		}
		p.started = append(p.started, mg.target.At)
	case MigrationCompleted, MigrationFailed, MigrationTimedOut:
		token := TokenAt(a.At.Add(-a.Duration))
		if p.outcomes[token]++; p.outcomes[token] > 1 {
			p.t.Fatalf("P5: a second outcome of migration %v: %+v", token, a)
		}
	case StaleCleared:
		if p.cluster.lost == "" {
			p.leave(a.Node)
		}
		p.unpublished(Unpublish{Node: a.Node, Lost: p.cluster.lost})
	case Attached, Detached, Conflict, Adopted, Repaired:
	}
}

// lastWords notes for which migrations a crash may cost the outcome's telling: it is recorded in
// the command that brings it about, and told when the command was answered.
func (p *play) lastWords() {
	if _, writing := writeOf(p.pending); !writing && !p.s.Unresolved() && len(p.lost) == 0 {
		return
	}
	for _, token := range p.started {
		p.unsure[token] = true
	}
}

func (p *play) everyMigrationWasTold() {
	p.t.Helper()
	for _, token := range p.started {
		mg, open := p.s.open()
		if p.outcomes[token] == 0 && !p.unsure[token] && (!open || mg.target.At != token) {
			p.t.Fatalf("P5: no outcome of migration %v", token)
		}
	}
}

// restartChangesNothing rebuilds the state from the row alone, wherever the row is certain.
func (p *play) restartChangesNothing() {
	p.t.Helper()
	if p.pending != nil || !p.s.known || p.s.Unresolved() || len(p.lost) > 0 {
		return
	}
	s, _ := Step(NewState(testVolume, p.rules), p.now, Observed{})
	s, effects := Step(s, p.now, Done{Volume: p.row})
	before, after := p.s.Volume(), s.Volume()
	// A refused entry is tried at once by who does not know; what KubeVirt said is asked again.
	timers := p.s.entries == (backoff{}) && !p.rules.Orchestrated
	if !reflect.DeepEqual(before, after) || p.s.Migrating() != s.Migrating() || timers && (!p.s.Deadline().Equal(s.Deadline()) || len(effects) > 0) {
		p.t.Fatalf("P4: a restart makes of %+v\n%+v with %+v", before, after, effects)
	}
}

func (p *play) answered(ev Event, r Reply) {
	p.t.Helper()
	if un, ok := ev.(Unpublish); ok {
		p.confirm(un) // a publish that was accepted before it may have been answered since
	}
	if r.Err != nil {
		if kinds(r.Err) != 1 || errors.Is(r.Err, ErrInvalid) {
			p.t.Fatalf("P3: an error of %d kinds: %v", kinds(r.Err), r.Err)
		}
		return
	}
	switch ev := ev.(type) {
	case Publish:
		if !r.Volume.Ledger.Granted(ev.Node) || !r.Volume.Export {
			p.t.Fatalf("publish to %s answered %+v", ev.Node, r.Volume)
		}
		p.holds[ev.Node] = r.Volume.NQN
		p.connect()
	case Unpublish:
		p.unpublished(ev)
	case Exclusive, Observed, Suspected, Outcome, Done, Tick:
	}
}

func (p *play) unpublished(ev Unpublish) {
	p.t.Helper()
	if ev.Node == "" && len(p.row.Ledger.Grants) > 0 || p.row.Ledger.Granted(ev.Node) {
		p.t.Fatalf("P6: unpublish of %q answered success, the box shows %+v", ev.Node, p.row)
	}
	for _, l := range p.lost {
		if ev.Node == "" && len(l.row.Ledger.Grants) > 0 || l.row.Ledger.Granted(ev.Node) {
			p.t.Fatalf("P6: unpublish of %q answered success while %+v may land", ev.Node, l.row)
		}
	}
	for _, node := range playNodes {
		if ev.Node != node && ev.Node != "" {
			continue
		}
		if p.live[node] && p.fences() {
			p.t.Fatalf("P6: unpublish of %q answered success, and it is connected: %+v", node, p.row)
		}
		p.leave(node)
	}
}

// fences reports whether the mode promises that a node is cut off that was detached just now:
// host unless two readers or more remain, epoch when nobody does.
func (p *play) fences() bool {
	switch n := len(p.row.Ledger.Grants); p.row.Ledger.Fencing {
	case FencingHost:
		return n <= 1
	case FencingEpoch:
		return n == 0
	case FencingNone:
	}
	return false
}
