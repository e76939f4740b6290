// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"slices"
	"time"
)

// A saying is what the cluster answers to a question, or says by itself. The zero saying of each question
// is the one with which all goes well. That it cannot tell is verbFail.
type saying int

const (
	saysWanted    saying = 0 // to Confirm: a VolumeAttachment asks for the grant
	saysStale     saying = 1 // it is left over, and the node does not use it
	saysStaleLost saying = 2 // it is left over, and the node may be using it

	saysAdmitted saying = 0 // to Admit
	saysRefused  saying = 1 // to Admit and Adopt

	saysAbsent    saying = 0 // to Judge: KubeVirt knows of no migration
	saysOpen      saying = 1 // it has not begun
	saysRunning   saying = 2 // it has, and KubeVirt's limit is another than the ledger's
	saysSucceeded saying = 3
	saysFailed    saying = 4

	saysAttached saying = 0 // to Adopt: who is attached by the VolumeAttachments
)

// orchestratedLimit is KubeVirt's limit of a migration that runs.
const orchestratedLimit = 90 * time.Second

// rules are those of the world's processes.
func (b *bounds) rules() Rules {
	rules := testRules
	rules.Orchestrated = b.orchestrated
	return rules
}

// sayings returns what the question in flight may be answered with, and none where there is no question.
// What a live read says is true: it sees the VolumeAttachment that was there before whoever waits asked,
// and KubeVirt does not take back how a migration ended, but forgets it.
func (w *world) sayings() []saying {
	switch e := w.flight.effect.(type) {
	case Confirm:
		if w.witness.wants(e.Node) {
			return []saying{saysWanted}
		}
		return []saying{saysWanted, saysStale, saysStaleLost}
	case Admit:
		return []saying{saysAdmitted, saysRefused}
	case Judge:
		return w.verdicts()
	case Adopt:
		return []saying{saysAttached, saysRefused}
	case ReadRow, GrantRow, RevokeRow, Run, Reply, Joined, Announce: // no questions
	}
	return nil
}

// verdicts returns what KubeVirt may say of the migration under way, or pending.
func (w *world) verdicts() []saying {
	f := w.migrating()
	switch {
	case f == nil:
		return []saying{saysAbsent}
	case f.final == VerdictSucceeded:
		return []saying{saysSucceeded, saysAbsent}
	case f.final == VerdictFailed:
		return []saying{saysFailed, saysAbsent}
	}
	return []saying{saysAbsent, saysOpen, saysRunning, saysSucceeded, saysFailed}
}

// migrating returns the fate of the migration that the actor knows of, if there is one.
func (w *world) migrating() *fate { return w.witness.migrating(w.s) }

// decided notes how KubeVirt says from now on that the migration has ended, if it does.
func (w *world) decided(says saying) {
	if f := w.migrating(); f != nil && says >= saysSucceeded {
		f.final = map[saying]Verdict{saysSucceeded: VerdictSucceeded, saysFailed: VerdictFailed}[says]
	}
}

// vanished notes what a live read saw: nobody asks for the node's grant any more.
func (w *world) vanished(c Confirm) {
	switch w.flight.says {
	case saysStale:
		w.witness.vanished(c.Node, "")
	case saysStaleLost:
		w.witness.vanished(c.Node, "gone")
	}
}

// said returns the answer to the question in flight, and false where there is none.
func (w *world) said() (Done, bool) {
	says := w.flight.says
	var done Done
	switch w.flight.effect.(type) {
	case Confirm:
		switch says {
		case saysWanted:
			done.Err = ErrPrecondition
		case saysStaleLost:
			done.Lost = "gone"
		}
	case Admit:
		if says == saysRefused {
			done.Err = ErrPrecondition
		}
		w.witness.admitted = says == saysAdmitted
	case Judge:
		if done.Migration = w.heard(says); says == saysAbsent {
			done.Err = ErrNotFound
		}
	case Adopt:
		if says == saysRefused {
			done.Err = ErrPrecondition
			break
		}
		done.Adoption = Adoption{Access: AccessShared, Timeout: 60}
		for i, n := range w.legacy {
			if !w.witness.seat(n).off {
				done.Adoption.Grants = append(done.Adoption.Grants, Grant{Node: n, At: TokenAt(testStart.Add(time.Duration(i-10) * time.Second))})
			}
		}
	case nil, ReadRow, GrantRow, RevokeRow, Run, Reply, Joined, Announce: // no questions
		return Done{}, false
	}
	return done, true
}

// heard returns KubeVirt's word on the migration, which the actor hears now.
func (w *world) heard(says saying) Migration {
	f := w.migrating()
	if f == nil || says == saysAbsent {
		return Migration{}
	}
	m := Migration{Source: f.source, Target: f.target}
	switch says {
	case saysRunning:
		m.Started, m.Limit = f.token.Time(), orchestratedLimit
	case saysSucceeded:
		m.Verdict = VerdictSucceeded
	case saysFailed:
		m.Verdict = VerdictFailed
	}
	f.hears(m)
	return m
}

// clusterActs adds what the cluster may say by itself.
func (w *world) clusterActs(add func(verb, int, bool)) {
	if !w.bounds.orchestrated || w.spare.looks == 0 {
		return
	}
	for i, n := range playNodes {
		add(verbSuspect, i, w.s.vol.Ledger.Granted(n))
	}
	if w.s.known && w.migrating() != nil {
		for _, s := range w.verdicts() {
			add(verbTell, int(s), s >= saysSucceeded)
		}
	}
}

func (w *world) tellOutcome(says saying) error {
	return w.step(Outcome{Migration: w.heard(says)})
}

// watches reports whether all that is left to do is to look at a migration that KubeVirt says is over, or
// has not begun, until a node is detached.
func (w *world) watches() bool {
	mg, ok := w.s.open()
	if !ok || w.flight.effect != nil || len(w.witness.asked) > 0 || !w.s.known || w.s.Unresolved() || len(w.s.suspects) > 0 {
		return false
	}
	f := w.witness.fate(mg.target.At)
	return f != nil && f.final != VerdictOpen && f.heard
}

// legacyRoots are worlds with a volume of the older driver's, which is attached to none, one or two nodes.
func legacyRoots(fresh *world) []*world {
	var all []*world
	for n := range 3 {
		w := fresh.clone()
		w.row = older(w.row)
		w.legacy = slices.Clone(playNodes[:n])
		w.witness.inherits(&w.disk, w.legacy...)
		all = append(all, w)
	}
	return all
}
