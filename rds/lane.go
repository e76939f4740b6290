// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"slices"
	"time"
)

// A lane is a part of a pool's sessions. The first is made when somebody asks, and again whenever there
// is none; more are made while somebody waits.
type lane struct {
	name  string
	pool  *sessionPool
	size  int           // sessions at most
	wakec chan struct{} // room for one: look whether a session is wanted

	// Owned by pool.mu.
	used    bool // somebody has asked
	members []*member
	err     error // of the last attempt to connect, until a session is made or lost
	fails   int   // attempts that failed in a row
	brief   int   // sessions in a row that were soon lost
	mend    bool  // the last attempt failed for a setting, and that was logged
}

// A member is a session in a pool.
type member struct {
	session
	lane  string        // its name
	born  uint64        // of the pool's clock, when it had been made
	since time.Time     // the same
	leftc chan struct{} // closed when it is out of its lane to be renewed, and nobody uses it

	// Owned by pool.mu.
	busy    int       // places that are taken
	good    time.Time // when the box last answered on it
	used    time.Time // when a place was last given back
	leaving bool      // it is out of its lane
}

// steady is how long a session must last for the next one to be made at once.
const steady = 10 * time.Second

func newLane(name string, p *sessionPool, size int) *lane {
	return &lane{name: name, pool: p, size: size, wakec: make(chan struct{}, 1)}
}

// living is how many sessions have not ended. One that has stays a member until watch has seen it: who comes in
// between finds the lane as who comes after. pool.mu must be held.
func (l *lane) living() (n int) {
	for _, m := range l.members {
		if m.Err() == nil {
			n++
		}
	}
	return n
}

func (l *lane) full() bool { return l.living() >= l.size }

// spent reports whether there will be no more sessions soon. pool.mu must be held.
func (l *lane) spent() bool { return l.full() || l.living() > 0 && l.err != nil }

// wants reports whether a session should be made. pool.mu must be held, and free places given out.
func (l *lane) wants() bool {
	p := l.pool
	if l.living() < len(l.members) {
		return false // how long to wait before the next one is known when it is out
	}
	waiting := len(p.waiting[urgent]) > 0
	if l == p.lanes[ordinary] {
		waiting = len(p.waiting[ordinary]) > 0 || waiting && p.lanes[urgent].full()
	}
	return waiting && !l.full() || l.used && len(l.members) == 0
}

// free returns a session with a free place, or nil: one that is older than a time of the clock, if there
// is one; of these the least busy, and of these the one on which the box answered last. pool.mu must be
// held.
func (l *lane) free(before uint64) *member {
	var best *member
	for _, m := range l.members {
		if m.busy < l.pool.width && m.Err() == nil && (best == nil || m.better(best, before)) {
			best = m
		}
	}
	return best
}

func (m *member) better(o *member, before uint64) bool {
	if older, others := m.born < before, o.born < before; older != others {
		return older
	}
	if m.busy != o.busy {
		return m.busy < o.busy
	}
	return m.good.After(o.good)
}

// run makes sessions until ctx ends.
func (l *lane) run(ctx context.Context) {
	for {
		select {
		case <-l.wakec:
		case <-ctx.Done():
			return
		}
		for l.open(ctx) {
		}
	}
}

// open makes a session if one is wanted, and reports whether there may be more to do.
func (l *lane) open(ctx context.Context) bool {
	if wanted, wait := l.plan(); !wanted || !pause(ctx, wait) {
		return false
	}
	wanted, _ := l.plan()
	if !wanted {
		return false
	}
	begin := time.Now()
	s, err := l.connect(ctx)
	l.report(err)
	// First, so that who is told finds it so.
	m, alone := l.add(s, err)
	if alone || err != nil {
		l.pool.cfg.Hooks.Reconnect(err, time.Since(begin))
	}
	if m != nil {
		l.pool.link(1)
		l.pool.loops.Go(func() { l.watch(ctx, m) })
	}
	return ctx.Err() == nil
}

// plan returns whether a session is wanted, and how long to wait before it is tried.
func (l *lane) plan() (bool, time.Duration) {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	fails := l.fails
	if len(l.members) == 0 {
		fails = max(fails, l.brief)
	}
	return l.wants(), l.backoff(fails)
}

// connect makes a session, within three quarters of the command deadline: who waits for it from the
// start should learn why there is none, and not only that the time is over.
func (l *lane) connect(ctx context.Context) (session, error) {
	ctx, cancel := context.WithTimeout(ctx, l.pool.cfg.CommandTimeout*3/4)
	defer cancel()
	s, err := l.pool.dial(ctx)
	if err != nil {
		return nil, explainConnect(err, l.pool.cfg)
	}
	return s, nil
}

// add takes what became of an attempt to connect. alone says that the lane had no session.
func (l *lane) add(s session, err error) (m *member, alone bool) {
	p := l.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	alone = len(l.members) == 0
	if l.err = err; err != nil {
		l.fails++
	} else {
		l.fails = 0
		now := time.Now()
		p.clock++
		m = &member{session: s, lane: l.name, born: p.clock, since: now, good: now, used: now, leftc: make(chan struct{})}
		l.members = append(l.members, m)
	}
	l.change()
	return m, alone
}

// change tells those whom it concerns that the lane has changed. pool.mu must be held.
func (l *lane) change() {
	close(l.pool.changed)
	l.pool.changed = make(chan struct{})
	l.pool.dispatch()
}

// watch takes a session out of the lane when it has ended or is no longer of use.
func (l *lane) watch(ctx context.Context, m *member) {
	p := l.pool
	idle := time.NewTimer(p.cfg.IdleTimeout)
	defer idle.Stop()
	retired, renewed := false, false
	for over := false; !over; {
		select {
		case <-m.Done():
			over = true
		case <-ctx.Done():
			over = true
		case <-m.leftc:
			renewed, over = true, true
		case <-idle.C:
			var again time.Duration
			retired, again = l.retire(m)
			over = retired
			idle.Reset(again)
		}
	}
	if !retired && !renewed {
		l.remove(m)
	}
	why := m.Err() // before it is closed by us
	m.Close()
	p.link(-1)
	log := p.cfg.Logger.With("address", p.cfg.Address, "session", l.name)
	switch {
	case ctx.Err() != nil:
	case renewed:
		log.Info("closed a session on which the box refused a command for a lack of rights")
	case retired:
		log.Debug("closed a session that nobody used")
	default:
		log.Warn("session with the box was lost", "error", why)
	}
}

// retire removes a session that nobody has used for a while, unless it is the last: that one is kept, so
// that it is noticed when the box restarts. If it is not removed, again says when to ask anew.
func (l *lane) retire(m *member) (retired bool, again time.Duration) {
	p := l.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	unused := time.Since(m.used)
	if m.busy > 0 || len(l.members) == 1 || unused < p.cfg.IdleTimeout {
		if again = p.cfg.IdleTimeout - unused; again <= 0 {
			again = p.cfg.IdleTimeout
		}
		return false, again
	}
	l.members = slices.DeleteFunc(l.members, func(o *member) bool { return o == m })
	p.tell()
	return true, p.cfg.IdleTimeout
}

// remove removes a session that was lost. Those who wait go on waiting for the next one: the box was
// there a moment ago.
func (l *lane) remove(m *member) {
	p := l.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	l.members = slices.DeleteFunc(l.members, func(o *member) bool { return o == m })
	l.err = nil
	if l.brief++; time.Since(m.since) >= steady {
		l.brief = 0
	}
	l.change()
}

// report logs an attempt to connect; of several failures in a row the first, since a box may be away
// for days.
func (l *lane) report(err error) {
	mend := mustMend(err)
	l.pool.mu.Lock()
	again := l.fails > 0 && l.mend == mend
	l.mend = mend
	l.pool.mu.Unlock()
	log := l.pool.cfg.Logger.With("address", l.pool.cfg.Address, "session", l.name)
	switch {
	case err == nil:
		log.Info("session with the box")
	case again:
		log.Debug("still no session with the box", "error", err)
	case mend:
		log.Error("no session with the box until a setting is changed", "error", err)
	default:
		log.Warn("no session with the box", "error", err)
	}
}

// backoff returns how long to wait after a number of failures in a row: between half and all of a time
// that doubles.
func (l *lane) backoff(fails int) time.Duration {
	if fails == 0 {
		return 0
	}
	cfg := l.pool.cfg
	d := cfg.MinBackoff
	for i := 1; i < fails && d < cfg.MaxBackoff; i++ {
		d *= 2
	}
	d = min(d, cfg.MaxBackoff)
	return d - cfg.Jitter(d/2)
}

// pause waits, and reports false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
