// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// FuzzStep plays arbitrary schedules of requests, answers, lost answers, late writes, crashes and
// time against one volume, and holds every one to the promises P1 to P6 (promises_test.go).
func FuzzStep(f *testing.F) {
	f.Add([]byte{0, 9, 1, 9, 4, 9, 9})             // publish twice, detach
	f.Add([]byte{0, 9, 10, 9, 12, 16, 9})          // a lost grant lands late
	f.Add([]byte{24, 0, 9, 9, 25, 9, 7, 11, 9, 9}) // a bounce is lost halfway
	f.Add([]byte{24, 9, 25, 9, 18, 9, 4, 9})       // a migration times out
	f.Add([]byte{0, 9, 9, 20, 9, 4, 9, 16, 9})     // a crash
	// A bounce is lost, and the process crashes before the next.
	f.Add([]byte{24, 9, 9, 25, 9, 6, 10, 9, 20, 9, 6, 9, 16, 9, 16, 9, 9, 17, 9, 9})
	f.Add([]byte{24, 9, 9, 25, 9, 18, 10, 6, 9, 12, 9, 16, 9, 9, 17, 9, 9}) // an old row after a bounce
	f.Add([]byte{24, 9, 9, 25, 9, 3, 11, 33, 9, 16, 9, 9})                  // a settlement is refused
	f.Fuzz(func(t *testing.T, script []byte) { playFuzzed(t, testRules, script) })
}

// FuzzStepOrchestrated is FuzzStep in a cluster that is asked, and that answers anything.
func FuzzStepOrchestrated(f *testing.F) {
	f.Add([]byte{24, 9, 25, 9, 9, 3, 9, 9, 44, 14, 9, 9})                  // a verdict that comes late
	f.Add([]byte{24, 9, 25, 9, 9, 3, 9, 9, 20, 9, 45, 17, 9, 9})           // and a crash before it
	f.Add([]byte{24, 9, 25, 9, 9, 3, 9, 9, 4, 9, 9})                       // nobody is left to wait with
	f.Add([]byte{24, 9, 25, 9, 9, 38, 9, 9, 9, 9, 9})                      // both are left over
	f.Add([]byte{24, 9, 25, 9, 9, 40, 35, 24, 9, 9, 9, 9, 9, 9})           // left over, lost, and published meanwhile
	f.Add([]byte{24, 9, 25, 9, 9, 43, 47, 18, 9, 9, 9, 18, 9, 9, 9})       // KubeVirt's deadline
	f.Add([]byte{24, 9, 25, 9, 10, 3, 9, 16, 9, 9, 9, 45, 17, 9, 9, 9, 9}) // a write in doubt at the end of a migration
	f.Add([]byte{24, 9, 25, 9, 9, 9, 9, 35, 24, 9, 40, 9, 9, 9, 9})        // a left-over node is lost after that was asked
	f.Add([]byte{24, 9, 9, 48, 25, 9, 9, 9, 9, 9})                         // the ledger is wiped under a VM
	f.Add([]byte{24, 9, 9, 48, 9, 25, 9, 10, 20, 9, 24, 9, 9, 12, 9, 9})   // and its next one is in doubt at a crash
	f.Fuzz(func(t *testing.T, script []byte) { playFuzzed(t, orchestratedRules(), script) })
}

func orchestratedRules() Rules {
	rules := testRules
	rules.Orchestrated = true
	return rules
}

func playFuzzed(t *testing.T, rules Rules, script []byte) {
	if len(script) > 200 {
		return
	}
	fencing := FencingHost
	if len(script) > 0 && script[0]&0x80 != 0 {
		fencing = FencingEpoch
	} else if len(script) > 0 && script[0]&0x40 != 0 {
		fencing = FencingNone
	}
	playScript(t, rules, fencing, script)
}

// A play is a stage that a witness watches.
type play struct {
	*stage
	rules   Rules
	witness witness
	older   Volume // the row before the last answer
}

func newPlay(t testing.TB, rules Rules, fencing Fencing, prefix string) *play {
	st := newStage(t, fencing)
	st.restart(rules)
	if prefix != "" {
		st.row.NQN, st.row.Ledger.Prefix = NQN(prefix, testVolume, 0), prefix
	}
	st.orchestrated = rules.Orchestrated
	p := &play{stage: st, rules: rules, witness: newWitness(playNodes...)}
	p.landed = func(before Volume) { p.must(p.witness.landed(&p.disk, before, false)) }
	p.noted = func(e Effect) {
		switch e := e.(type) {
		case Reply:
			p.must(p.witness.answered(&p.disk, e, p.now))
		case Announce:
			if e.Announcement.Kind == StaleCleared {
				p.witness.vanished(e.Announcement.Node, p.cluster.wasLost)
			}
			p.must(p.witness.announced(&p.disk, e.Announcement))
		case Confirm:
			p.witness.seat(e.Node).told = false // whoever asked for it is gone, or nobody can tell
		case Admit:
			p.witness.admitted = true // unless it is refused
		case ReadRow, GrantRow, RevokeRow, Run, Judge, Adopt:
			p.must(p.witness.sent(&p.disk, e, p.now))
		case Joined:
		}
	}
	return p
}

func (p *play) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// check holds the moment to the promises.
func (p *play) check() {
	p.t.Helper()
	p.expire(p.now)
	p.must(p.witness.holds(&p.disk))
	p.must(p.witness.atRest(&p.disk, p.s, p.now))
}

func playScript(t *testing.T, rules Rules, fencing Fencing, script []byte) {
	t.Helper()
	prefix := "" // the default
	if len(script)%2 == 1 {
		prefix = "nqn.2024-01.io.example:rds/box-1"
	}
	p := newPlay(t, rules, fencing, prefix)
	for _, b := range script {
		p.act(b & 0x7f)
		p.check()
	}
	p.end()
}

// TestPlays plays schedules that are likelier to go far than the fuzzer's: a shared volume, whose
// box answers more often than not.
func TestPlays(t *testing.T) {
	likely := []byte{9, 9, 9, 9, 9, 9, 9, 9, 13, 14, 15, 16, 17, 24, 25, 26, 24, 25, 3, 4, 5, 6, 7, 8, 10, 11, 12, 12}
	rare := []byte{0, 18, 19, 20, 34, 34, 21, 22, 23, 27, 28, 30, 31, 32, 33, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48}
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 0))
		script := make([]byte, 20+r.IntN(100))
		for i := range script {
			if script[i] = likely[r.IntN(len(likely))]; r.IntN(8) == 0 {
				script[i] = rare[r.IntN(len(rare))]
			}
		}
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			fencing := []Fencing{FencingHost, FencingHost, FencingEpoch, FencingNone}[seed%4]
			playScript(t, []Rules{testRules, orchestratedRules()}[seed/4%2], fencing, script)
		})
		if !ok {
			t.Fatalf("schedule %v", script)
		}
	}
}

func (p *play) act(b byte) {
	p.now = p.now.Add(time.Millisecond) // so that no two grants have one time
	node := playNodes[int(b)%3]
	switch {
	case b < 3:
		p.ask(Publish{Waiter: p.ticket(), Node: node, Access: AccessSingle})
	case b < 6:
		p.ask(Unpublish{Waiter: p.ticket(), Node: node})
	case b < 9:
		p.ask(Unpublish{Waiter: p.ticket(), Node: node, Lost: "gone"})
	case b < 12:
		p.reply(int(b - 9))
	case b == 12:
		p.landOne()
	case b < 20:
		p.pass([]time.Duration{time.Millisecond, time.Second, 3 * time.Second, testRules.CommandTimeout, testRules.BounceGap, 300 * time.Second, time.Hour}[b-13])
	case b == 20:
		p.restartNow()
	case b == 21:
		p.do(Observed{})
	case b == 22:
		p.ask(Unpublish{Waiter: p.ticket()})
	case b == 23:
		p.refuse(ErrUnavailable)
	case b == 34:
		p.forgetful()
	case b == 33:
		p.refuse(ErrPrecondition)
	case b < 27:
		p.ask(Publish{Waiter: p.ticket(), Node: node, Access: AccessShared})
	case b < 30:
		p.ask(Publish{Waiter: p.ticket(), Node: node, Access: AccessReader})
	case b < 33:
		p.ask(Exclusive{Waiter: p.ticket(), Op: Operation{Kind: []OpKind{OpCreate, OpDelete, OpExpand}[b-30]}})
	case b >= 35 && p.rules.Orchestrated:
		p.orchestrate(b)
	}
}

// orchestrate changes what the cluster says, or has it say something by itself.
func (p *play) orchestrate(b byte) {
	c := &p.cluster
	switch {
	case b < 38:
		p.do(Suspected{Nodes: []NodeID{playNodes[b-35]}})
	case b == 38:
		p.do(Suspected{Nodes: playNodes})
	case b == 39 && c.stale != nil:
		c.stale = nil
	case b == 39:
		c.stale = map[NodeID]error{"node-a": errWanted, "node-b": errAway}
	case b == 40:
		c.lost = map[string]string{"": "node object is gone"}[c.lost]
	case b == 41 && c.admit == nil:
		c.admit = errWanted
	case b == 41:
		c.admit = nil
	case b == 46 && c.silence == nil:
		c.silence = errAway
	case b == 46:
		c.silence = nil
	case b < 46:
		c.migration.Verdict = []Verdict{VerdictOpen, VerdictOpen, VerdictSucceeded, VerdictFailed}[b-42]
		c.migration.Started, c.migration.Limit = time.Time{}, 0
		if b == 43 {
			c.migration.Started, c.migration.Limit = p.now, 90*time.Second
		}
	case b == 47:
		m := c.migration
		if mg, ok := p.row.Ledger.migration(); ok {
			m.Source, m.Target = mg.source.Node, mg.target.Node
		}
		p.do(Outcome{Migration: m})
	case b == 48:
		p.wipe()
	case b == 49:
		p.ask(TakeOver{Waiter: p.ticket(), From: foreignCluster, Gen: 1})
	}
}

// wipe has somebody delete the comment of a volume, whose VolumeAttachments know who has it. The outcome
// of a migration is told then when somebody asks for the volume again.
func (p *play) wipe() {
	l := p.row.Ledger
	if p.pending != nil || !p.s.known || p.s.Unresolved() || len(p.lost) > 0 || p.behind() || !p.row.Ours || l.Told != "" || l.Off {
		return
	}
	p.cluster.adoption = Adoption{Access: l.Access, Timeout: l.Timeout, Grants: l.Grants}
	p.row.Ours, p.row.Ledger = false, Ledger{}
	p.older, p.acked = Volume{}, 0
	for i := range p.witness.fates {
		p.witness.fates[i].unsure = true
	}
	p.do(Observed{})
}

func (p *play) ticket() Waiter {
	p.tickets++
	return p.tickets
}

func (p *play) ask(ev Event) {
	p.witness.ask(ev)
	p.do(ev)
}

// reply answers what is in flight: with success, or by losing the answer after n rows landed.
func (p *play) reply(how int) {
	if p.pending == nil {
		return
	}
	w, write := writeOf(p.pending)
	switch {
	case how == 0:
		p.older = p.row
		p.answer()
	case write:
		p.lose(min(how-1, len(w.Rows)))
	default:
		p.fail(ErrUnresolved)
	}
}

// refuse answers what is in flight with a failure that changed nothing.
func (p *play) refuse(kind error) {
	if p.pending != nil {
		p.fail(kind)
	}
}

// landOne makes the oldest lost row land, if its time is not over.
func (p *play) landOne() {
	p.expire(p.now)
	if len(p.lost) > 0 {
		p.land(p.lost[0].row)
		p.lost = p.lost[1:]
	}
}

// pass lets time go by without the box answering anything.
func (p *play) pass(d time.Duration) {
	p.now = p.now.Add(d)
	p.expire(p.now)
	if at := p.s.Deadline(); !at.IsZero() && !at.After(p.now) {
		p.do(Tick{})
	}
}

// forgetful reboots the box: it comes back without what it acknowledged last. The actor is its only
// witness.
func (p *play) forgetful() {
	if p.pending == nil && p.s.known && p.s.vol.Exists && p.older.Exists && p.older.Ledger.Gen < p.s.vol.Ledger.Gen {
		before := p.row
		p.row = p.older
		p.must(p.witness.landed(&p.disk, before, true))
		p.do(Observed{})
	}
}

// restartNow crashes the process: who waited is gone, and what was in flight may land.
func (p *play) restartNow() {
	if w, ok := writeOf(p.pending); ok {
		p.giveUp(late(w.Rows, 0), p.now)
	}
	p.witness.crashed(&p.disk)
	rules := p.rules
	rules.Quiet = p.now.Add(testRules.CommandTimeout)
	p.restart(rules)
	p.do(Observed{})
}

// end lets the box answer everything and holds the outcome to P3: everybody was answered, and
// nothing is left to do.
func (p *play) end() {
	p.t.Helper()
	p.lost = nil
	for end := p.now.Add(20 * time.Minute); ; {
		for p.pending != nil {
			p.now = p.now.Add(time.Millisecond)
			p.answer()
			p.check()
		}
		at := p.s.Deadline()
		if at.IsZero() || at.After(end) {
			break
		}
		p.now = at
		p.do(Tick{})
		p.check()
	}
	if len(p.witness.asked) > 0 {
		p.t.Fatalf("P3: never answered: %+v", p.witness.asked)
	}
	if m := p.s.Migrating(); !p.s.Idle() && !m {
		p.t.Fatalf("never idle: %+v", p.s)
	}
}
