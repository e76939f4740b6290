// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// A simJob is a live migration as KubeVirt has it: what it says follows from the time. It takes nothing
// back, but may be forgotten.
type simJob struct {
	uid            string
	source, target NodeID
	created        time.Time
	begins         time.Time // zero: never
	limited        time.Time // when its limit is configured; zero: never
	limit          time.Duration
	ends           time.Time // zero: never, or so long after the overlap:
	late           time.Duration
	verdict        Verdict
	forgotten      time.Time // zero: never
}

func newJob(r *rand.Rand, n int, source, target NodeID) *simJob {
	span := func(least, most int) time.Duration {
		return time.Duration(least)*time.Second + time.Duration(r.Int64N(int64(time.Duration(most-least)*time.Second)))
	}
	now := time.Now()
	j := &simJob{uid: fmt.Sprint("uid-", n), source: source, target: target, created: now, limit: span(20, 120)}
	if r.IntN(6) > 0 {
		j.begins = now.Add(span(0, 15))
		switch r.IntN(4) {
		case 0:
		case 1:
			j.limited = j.begins.Add(span(0, 30))
		default:
			j.limited = j.begins
		}
	}
	switch r.IntN(6) {
	case 0:
	case 1, 2:
		j.late = span(0, 80)
	default:
		j.ends = now.Add(span(2, 60))
	}
	j.verdict = []Verdict{VerdictSucceeded, VerdictSucceeded, VerdictSucceeded, VerdictFailed, VerdictFailed, VerdictFailed, VerdictUncertain}[r.IntN(7)]
	if r.IntN(6) == 0 {
		j.forgotten = now.Add(span(10, 120))
	}
	return j
}

func come(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

// over reports whether KubeVirt says that it has ended.
func (j *simJob) over(now time.Time) bool { return come(j.ends, now) }

// at returns what KubeVirt says at a time, and false where it knows of no such migration.
func (j *simJob) at(now time.Time) (Migration, bool) {
	m := Migration{Source: j.source, Target: j.target, UID: j.uid}
	if come(j.begins, now) {
		m.Started = j.begins
		if come(j.limited, now) {
			m.Limit = j.limit
		}
	}
	if j.over(now) {
		if m.Verdict = j.verdict; m.Verdict == VerdictFailed {
			m.Reason = "simulated"
		}
	}
	return m, !come(j.forgotten, now)
}

// job returns the latest migration between two nodes.
func (vol *simVolume) job(source, target NodeID) *simJob {
	for _, j := range slices.Backward(vol.jobs) {
		if j.source == source && j.target == target {
			return j
		}
	}
	return nil
}

// news has KubeVirt tell by itself what changes at a time, when the caches show it.
func (c *simCluster) news(vol *simVolume, at time.Time) {
	if at.IsZero() {
		return
	}
	time.AfterFunc(max(0, time.Until(at))+c.lag+13*time.Millisecond, func() { c.tell(vol) })
}

// tell tells how the latest migration of a volume stands, by the caches.
func (c *simCluster) tell(vol *simVolume) {
	c.box.mu.Lock()
	at := c.look()
	var m Migration
	known := false
	for _, j := range vol.jobs {
		if !j.created.After(at) {
			m, known = j.at(at)
		}
	}
	p := c.box.living()
	c.box.mu.Unlock()
	if known && p != nil && p.filled() {
		p.sup.Outcome(vol.id, m)
	}
}

// tellAll is what a process hears when its caches are filled.
func (c *simCluster) tellAll() {
	for _, id := range c.box.ids {
		c.tell(c.box.vols[id])
	}
}

func (o *simOrchestrator) Admit(_ context.Context, id VolumeID, holder, target NodeID, _ Policy) error {
	err := o.answer(id, "admit", nil, func(vol *simVolume) error {
		j, now := vol.job(holder, target), time.Now()
		if j != nil && !j.over(now) && !come(j.forgotten, now) || !o.kubevirt {
			return nil
		}
		r := o.box.draw(vol, "migration")
		if r.IntN(8) == 0 {
			return ErrPrecondition // another VM's
		}
		j = newJob(r, len(vol.jobs), holder, target)
		vol.jobs = append(vol.jobs, j)
		for i, at := range []time.Time{j.created, j.begins, j.limited, j.ends} {
			if i != 2 || at != j.begins { // once
				o.news(vol, at)
			}
		}
		return nil
	})
	if err == nil {
		o.box.mu.Lock()
		defer o.box.mu.Unlock()
		vol := o.box.vols[id]
		vol.witness.admitted = !o.view.gone()
		o.box.note(id, "may go from %s to %s", holder, target)
	}
	return err
}

func (o *simOrchestrator) Migration(_ context.Context, id VolumeID, source, target NodeID) (m Migration, err error) {
	found := false
	err = o.answer(id, "ask", nil, func(vol *simVolume) error {
		if j := vol.job(source, target); j != nil {
			m, found = j.at(time.Now())
		}
		return nil
	})
	if err == nil && !found {
		m, err = Migration{}, ErrNotFound
	}
	if err != nil {
		m = Migration{}
	}
	return m, err
}

// An ear is what the living process has heard of one migration, and when its overlap ended.
type ear struct {
	last  Migration
	told  bool      // it has heard last
	none  bool      // that KubeVirt knows of none
	asked bool      // it has asked, whatever the answer
	at    time.Time // of the last answer
	first time.Time // when the box showed that the overlap had ended,
	over  time.Time // and when it did so last: a box that forgets brings it back
}

func (vol *simVolume) ear(token Token) *ear {
	if vol.ears == nil {
		vol.ears = map[Token]*ear{}
	}
	if vol.ears[token] == nil {
		vol.ears[token] = &ear{}
	}
	return vol.ears[token]
}

// deafened notes that nobody is left who has heard anything.
func (vol *simVolume) deafened() {
	for _, e := range vol.ears {
		*e = ear{first: e.first, over: e.over}
	}
}

// hears notes what an actor is about to hear.
func (c *simCluster) hears(vol *simVolume, s State, ev Event) {
	f := vol.witness.migrating(s)
	if out, ok := ev.(Outcome); ok && !s.known { // it is kept until the row is read
		f = vol.witness.between(out.Migration.Source, out.Migration.Target)
	}
	if f == nil {
		return
	}
	e := vol.ear(f.token)
	switch ev := ev.(type) {
	case Outcome:
		if m := ev.Migration; m.Source == f.source && m.Target == f.target {
			vol.believes(e, f, m)
			c.box.note(vol.id, "is told %v of %v", m.Verdict, m.UID)
		}
	case Done:
		if s.inflight != inflightJudge && s.inflight != inflightAttend {
			return
		}
		e.asked = true
		c.box.note(vol.id, "is answered %v of %v, %v", ev.Migration.Verdict, ev.Migration.UID, ev.Err == nil)
		switch ev.Err {
		case nil:
			e.at, e.none = time.Now(), false
			vol.believes(e, f, ev.Migration)
		case ErrNotFound:
			e.at, e.none, e.told = time.Now(), true, false
		}
	case Publish, Unpublish, Exclusive, TakeOver, Observed, Suspected, Tick:
	}
}

func (vol *simVolume) believes(e *ear, f *fate, m Migration) {
	e.last, e.told, e.none = m, true, false
	if j := vol.job(f.source, f.target); j != nil && j.uid == m.UID {
		f.hears(m)
	}
}

// parted notes the end of an overlap, on which KubeVirt may wait.
func (c *simCluster) parted(vol *simVolume, before Ledger) {
	if before.Access != AccessShared || len(before.Grants) != 2 || len(vol.row.Ledger.Grants) == 2 {
		return
	}
	now := time.Now()
	e := vol.ear(before.Grants[1].At)
	if e.over = now; e.first.IsZero() {
		e.first = now
	}
	j := vol.job(before.Grants[0].Node, before.Grants[1].Node)
	if j != nil && j.ends.IsZero() && j.late > 0 {
		j.ends = now.Add(j.late)
		c.news(vol, j.ends)
	}
}
