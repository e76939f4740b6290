// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"time"
)

// Reconcile asks that the box's rows be compared with the actors, as after a reconnect, when the
// box may have come back with an older configuration. It does not wait.
func (s *Supervisor) Reconcile() {
	select {
	case s.reconcile <- struct{}{}:
	default: // one is owed already
	}
}

// keepReconciled reconciles whenever asked, and again until the box has answered, until ctx is
// done.
func (s *Supervisor) keepReconciled(ctx context.Context) {
	var retry <-chan time.Time
	var tries backoff
	inherit := s.inherit
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.reconcile:
		case <-retry:
		}
		if ctx.Err() != nil {
			return // what else there is to do is the next process's
		}
		rows, err := s.observeAll(ctx)
		if err != nil {
			s.cfg.Logger.Warn("the box's volumes could not be listed, trying again", "error", err)
			tries.fail(time.Now())
			retry = time.After(time.Until(tries.until))
			continue
		}
		retry, tries = nil, backoff{}
		inherit(rows)
		inherit = func([]Volume) {} // what comes next is this process's own
	}
}

// observeAll has every actor read its row again, and starts the actors of volumes with a task of
// their own: a migration whose time runs or whose outcome is pending, a bounce that was cut short.
// All others are rebuilt when they are asked for. It returns the rows.
func (s *Supervisor) observeAll(ctx context.Context) ([]Volume, error) {
	rows, err := s.cfg.Box.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range rows {
		if !v.Ours || v.Ledger.Cluster != s.cfg.Cluster {
			continue
		}
		mg, ok := v.Ledger.migration()
		if _, pending := v.Ledger.pending(); v.Ledger.Off || pending || (ok && !mg.told) {
			s.observe(v.ID)
		}
	}
	for _, id := range s.live() {
		s.observe(id)
	}
	return rows, nil
}

// inherit hands over what the rows say that an earlier process announced, or died before it did.
func (s *Supervisor) inherit(rows []Volume) {
	if s.cfg.Inherited == nil {
		return
	}
	now := time.Now()
	var inherited []Announcement
	for _, v := range rows {
		if !v.Ours || v.Ledger.Cluster != s.cfg.Cluster {
			continue
		}
		if a, ok := v.inherited(now); ok {
			inherited = append(inherited, a)
		}
	}
	s.cfg.Inherited(inherited)
}

// observe tells a volume's actor to look at the box, starting it if need be.
func (s *Supervisor) observe(id VolumeID) {
	s.tell(id, func(n *news) { n.row = true })
}

// tell puts something before a volume's actor, which is started if need be.
func (s *Supervisor) tell(id VolumeID, change func(*news)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.actor(id); a != nil {
		a.news.put(func() { change(&a.news) })
	}
}

// Outcome passes on how KubeVirt's live migration of a volume stands. It does not wait. What is over is
// of interest only to an actor that is there.
func (s *Supervisor) Outcome(id VolumeID, m Migration) {
	if id.Check() != nil || (m.Verdict != VerdictOpen && s.snapshot(id) == nil) {
		return
	}
	s.tell(id, func(n *news) { n.outcome = &Outcome{Migration: m} })
}

func (s *Supervisor) live() []VolumeID {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]VolumeID, 0, len(s.byID))
	for id := range s.byID {
		ids = append(ids, id)
	}
	return ids
}

// Stats is a snapshot of all actors for gauges. Taking it never waits for the box.
type Stats struct {
	Actors      int
	Migrating   int           // volumes granted to two nodes whose outcome was not told
	Unresolved  int           // volumes with a write whose outcome is not known
	Quarantined int           // volumes out of service after panics
	StaleHeld   int           // grants that nobody wants and that wait for a person
	Waiting     int           // operations that wait or run
	MostWaiting int           // of them, of one volume
	Oldest      time.Duration // the age of the oldest of them
}

// Stats returns the present figures.
func (s *Supervisor) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Actors: len(s.byID), StaleHeld: int(s.staleHeld.Load())}
	now := time.Now()
	for _, a := range s.byID {
		snap := a.snap.Load()
		st.Migrating += count(snap.migrating)
		st.Unresolved += count(snap.unresolved)
		st.Quarantined += count(snap.quarantine)
		waiting := snap.waiting + len(a.mailbox)
		st.Waiting += waiting
		st.MostWaiting = max(st.MostWaiting, waiting)
		if !snap.oldest.IsZero() {
			st.Oldest = max(st.Oldest, now.Sub(snap.oldest))
		}
	}
	return st
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// announce passes an announcement on.
func (s *Supervisor) announce(a Announcement) {
	s.cfg.Logger.Info("announced", "kind", a.Kind.String(), "volume-id", string(a.Volume), "node-id", string(a.Node),
		"source", string(a.Source), "target", string(a.Target), "duration", a.Duration, "reason", a.Reason)
	if s.cfg.Announcer != nil {
		s.cfg.Announcer.Announce(a)
	}
}
