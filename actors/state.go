// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"fmt"
	"slices"
	"time"
)

// Rules are what Step must know of its surroundings. They are the same for every volume of a
// process.
type Rules struct {
	// Cluster is the 12 hex digits that this cluster's ledgers carry.
	Cluster string
	// CommandTimeout is the longest time for which a command whose answer was lost is taken to be
	// able to land still, counted from when it was given up.
	CommandTimeout time.Duration
	// Quiet is when the last command of an earlier process can have landed. Until then a volume
	// counts as unresolved. The zero time: there was no earlier process.
	Quiet time.Time
	// BounceGap is the least time between two bounces of one export: a survivor that is still
	// reconnecting when its export goes off again may be lost (Linux 6.10 and later).
	BounceGap time.Duration
	// Fresh is how long a row that was read stands for the box's, when no write has failed since.
	Fresh time.Duration
	// Orchestrated says that there is an Orchestrator to ask. Without one the ledger alone decides.
	Orchestrated bool
}

// Bounds on what waits for one volume.
const (
	maxQueue   = 16 // operations
	maxWaiters = 64 // requests that wait for one operation
)

// A State is all that is known of one volume. It changes through Step alone.
type State struct {
	id    VolumeID
	rules Rules

	// vol is the row as the box acknowledged or showed it last. It is the actor's memory of who was
	// told what, so that a row from before a lost write is recognized.
	vol    Volume
	known  bool      // vol may be acted on
	look   bool      // the row is to be read even if nobody waits
	readAt time.Time // when vol was read or written last
	epoch  Token     // the newest epoch that was ever sent

	inflight inflight
	sent     Write       // by the GrantRow or RevokeRow in flight
	again    bool        // Observed while an effect was in flight
	queue    []request   // accepted, oldest first; the first one runs
	settling *settlement // a write whose outcome is not known
	backoff  backoff     // of reads that nobody waits for
	entries  backoff     // of ledger entries, which nobody waits for
	refused  []NodeID    // whose conflict was told

	word       word      // what KubeVirt said last of the migration under way, or pending
	asking     backoff   // of questions to KubeVirt
	ruleBy     time.Time // when an outcome is pending no longer; zero: it is not, or only just
	silentBy   time.Time // when KubeVirt's silence says that a migration takes too long; zero: it is not silent
	suspects   []NodeID  // granted, and perhaps left over
	confirming NodeID    // the one that is asked about

	toTell []announcing // announced when the write in flight is acknowledged
}

// announcing is an announcement whose time and duration are known when the box has answered.
type announcing struct {
	a     Announcement
	since time.Time
}

// inflight says which effect's Done is awaited.
type inflight byte

const (
	inflightNone    inflight = iota
	inflightRead             // the row, for whoever needs it
	inflightGrant            // for queue[0]
	inflightRevoke           // for queue[0]
	inflightRun              // for queue[0]
	inflightSettle           // for settling
	inflightVerify           // the read-back of settling
	inflightRecord           // a migration's outcome, for the ledger
	inflightConfirm          // of confirming
	inflightAdmit            // for queue[0]
	inflightJudge            // for queue[0]
	inflightAttend           // of a migration whose time has come
	inflightAdopt            // for queue[0]
	inflightAdopted          // the first ledger, for queue[0]
)

// NewState returns the state of a volume of which nothing is known yet.
func NewState(id VolumeID, rules Rules) State {
	return State{id: id, rules: rules, vol: Volume{ID: id}}
}

// clone returns a copy that shares nothing that Step changes.
func (s State) clone() State {
	s.vol.Ledger.Grants = slices.Clone(s.vol.Ledger.Grants)
	s.queue = cloneRequests(s.queue)
	s.refused = slices.Clone(s.refused)
	s.suspects = slices.Clone(s.suspects)
	s.toTell = slices.Clone(s.toTell)
	s.sent.Rows = cloneRows(s.sent.Rows)
	if s.settling != nil {
		c := *s.settling
		c.row.Ledger.Grants = slices.Clone(c.row.Ledger.Grants)
		c.held = cloneRequests(c.held)
		c.toTell = slices.Clone(c.toTell)
		s.settling = &c
	}
	return s
}

// Deadline returns when the next Tick is due, and the zero time if none is.
func (s State) Deadline() time.Time {
	var at time.Time
	arm := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if s.inflight != inflightNone {
		return at // Done comes first, and everything is looked at again then
	}
	if !s.known && s.look {
		arm(s.backoff.until)
	}
	if s.settling != nil {
		arm(s.settling.due)
	}
	if due, ok := s.attend(); s.known && s.settling == nil && ok {
		arm(due)
	}
	return at
}

// Idle reports whether nothing is lost when the actor ends: nothing waits, runs or is owed.
func (s State) Idle() bool {
	return s.inflight == inflightNone && len(s.queue) == 0 && s.settling == nil && s.Deadline().IsZero()
}

// ours reports why the volume's row must not be written by this driver, if so.
func (s State) ours() error {
	v := s.vol
	switch {
	case !v.Exists:
		return fmt.Errorf("volume %s does not exist on the box: %w", s.id, ErrNotFound)
	case !v.Ours:
		return fmt.Errorf("the disk of volume %s carries no ledger of this driver, adopt it first: %w", s.id, ErrPrecondition)
	case v.Ledger.Cluster != s.rules.Cluster:
		return fmt.Errorf("volume %s belongs to cluster %s, this is cluster %s: %w", s.id, v.Ledger.Cluster, s.rules.Cluster, ErrPrecondition)
	}
	if v.NQN == "" && !v.Export {
		return fmt.Errorf("the box shows no NQN of volume %s while its export is off, turn that on: %w", s.id, ErrPrecondition)
	}
	if _, ok := NQNPrefix(v.NQN, s.id); !ok {
		return fmt.Errorf("the NQN %q of volume %s does not name it, set it to <prefix>:%[2]s: %w", v.NQN, s.id, ErrPrecondition)
	}
	return nil
}

// Unresolved reports whether a write's outcome is not known.
func (s State) Unresolved() bool { return s.settling != nil }

// Migrating reports whether the volume is granted to two nodes and no outcome has been told.
func (s State) Migrating() bool {
	_, ok := s.open()
	return ok
}

// open returns the migration under way whose outcome is to be told, if there is one. What a row
// shows that is not ours is others' to tell.
func (s State) open() (migration, bool) {
	mg, ok := s.vol.Ledger.migration()
	return mg, ok && !mg.told && s.ours() == nil
}

// Waiting returns how many operations wait or run, and since when the oldest does.
func (s State) Waiting() (n int, since time.Time) {
	n = len(s.queue)
	if n > 0 {
		since = s.queue[0].since
	}
	if s.settling != nil {
		for _, r := range s.settling.held {
			n++
			if since.IsZero() || r.since.Before(since) {
				since = r.since
			}
		}
	}
	return n, since
}

// Volume returns the row as the box acknowledged or showed it last.
func (s State) Volume() Volume {
	v := s.vol
	v.Ledger.Grants = slices.Clone(v.Ledger.Grants)
	return v
}

func cloneRows(rows []Row) []Row {
	rows = slices.Clone(rows)
	for i := range rows {
		rows[i].Ledger.Grants = slices.Clone(rows[i].Ledger.Grants)
	}
	return rows
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// A backoff spaces the attempts at something that nobody waits for.
type backoff struct {
	failures int
	until    time.Time
}

// The spacing doubles from the first to the last of these.
const (
	firstBackoff = time.Second
	lastBackoff  = 30 * time.Second
)

func (b *backoff) fail(now time.Time) {
	d := min(firstBackoff<<min(b.failures, 10), lastBackoff)
	b.failures++
	b.until = now.Add(d)
}
