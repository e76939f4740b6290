// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"
)

// answered holds an answer to P1, P3 and P6.
func (w *witness) answered(d *disk, r Reply, now time.Time) error {
	d.expire(now)
	i := slices.IndexFunc(w.asked, func(a asking) bool { return a.waiter == r.Waiter })
	if i < 0 {
		return fmt.Errorf("P3: waiter %d is answered, who does not wait: %v", r.Waiter, r.Err)
	}
	ev := w.asked[i].ev
	earlier, later := w.asked[:i], w.asked[i+1:]
	w.asked = nil
	for _, a := range earlier {
		if un, ok := ev.(Unpublish); r.Err != nil || !ok || !a.gone || !a.about(un) {
			w.asked = append(w.asked, a) // of what nobody waits for it is known that it is over
		}
	}
	w.asked = append(w.asked, later...)
	if r.Err != nil {
		if kinds(r.Err) != 1 || errors.Is(r.Err, ErrInvalid) {
			return fmt.Errorf("P3: an error of %d kinds: %w", kinds(r.Err), r.Err)
		}
		return w.refused(d, ev, r.Err)
	}
	switch ev := ev.(type) {
	case Publish:
		return w.published(d, ev, r.Volume, later)
	case Unpublish:
		return w.unpublished(d, ev)
	case Exclusive:
		if ev.Op.Kind == OpDelete && d.row.Exists {
			return fmt.Errorf("P3: a delete answered success, the box shows %+v", d.row)
		}
		if slices.ContainsFunc(d.lost, func(l lostRow) bool { return l.op == OpCreate }) {
			return fmt.Errorf("P2: %s answered success while a create may land", ev.Op.Kind)
		}
	case TakeOver:
		if r.Volume.Ledger.Cluster != testCluster {
			return fmt.Errorf("P7: taken over is %+v", r.Volume)
		}
	case Observed, Suspected, Outcome, Done, Tick:
	}
	return nil
}

// about reports whether a request is for a node that an unpublish is for, so that it was carried out
// before.
func (a asking) about(un Unpublish) bool {
	pub, ok := a.ev.(Publish)
	return ok && (un.Node == "" || un.Node == pub.Node)
}

// refused holds a refusal to what the box shows.
func (w *witness) refused(d *disk, ev Event, err error) error {
	if _, ok := ev.(Exclusive); !ok && errors.Is(err, ErrNotFound) && d.row.Exists {
		return fmt.Errorf("P3: %#v answered %w, the box shows %+v", ev, err, d.row)
	}
	return nil
}

func (w *witness) published(d *disk, ev Publish, v Volume, later []asking) error {
	if !v.Ledger.Granted(ev.Node) || !v.Export || v.Ledger.Access != ev.Access {
		return fmt.Errorf("P3: publish to %s answered %+v", ev.Node, v)
	}
	if !d.behind() && (!d.row.Ledger.Granted(ev.Node) || d.row.NQN != v.NQN || d.row.Ledger.Access != ev.Access) {
		return fmt.Errorf("P3: publish to %s answered success, the box shows %+v", ev.Node, d.row)
	}
	for _, l := range d.lost {
		if !l.row.Ledger.Granted(ev.Node) || l.row.NQN != v.NQN {
			return fmt.Errorf("P2: publish to %s answered success while %+v may land", ev.Node, l)
		}
	}
	if slices.ContainsFunc(later, func(a asking) bool {
		un, ok := a.ev.(Unpublish)
		return ok && (un.Node == ev.Node || un.Node == "")
	}) {
		return nil // nobody hands it on to the node
	}
	s := w.seat(ev.Node)
	s.told, s.nqn = true, v.NQN
	w.connect(d)
	return nil
}

func (w *witness) unpublished(d *disk, ev Unpublish) error {
	holds := func(l Ledger) bool {
		return ev.Node == "" && len(l.Grants) > 0 || l.Granted(ev.Node)
	}
	if holds(d.row.Ledger) && !d.behind() {
		return fmt.Errorf("P6: unpublish of %q answered success, the box shows %+v", ev.Node, d.row)
	}
	for _, l := range d.lost {
		if holds(l.row.Ledger) {
			return fmt.Errorf("P6: unpublish of %q answered success while %+v may land", ev.Node, l.row)
		}
	}
	for i := range w.seats {
		s := &w.seats[i]
		if ev.Node != s.node && ev.Node != "" {
			continue
		}
		if err := s.parted(d); err != nil {
			return err
		}
		s.off = !w.wants(s.node)
	}
	return nil
}

// parted holds the detach of a node to P6. From then on it stays out, or what it does is not the driver's
// to answer for: in the next migration the export is open to any host.
func (s *seat) parted(d *disk) error {
	if s.live && d.fences() && !d.behind() {
		return fmt.Errorf("P6: node %s is detached and connected: %+v", s.node, d.row)
	}
	s.nqn, s.live = "", false
	return nil
}

// fences reports whether the mode promises that a node is cut off that is detached: host where it might
// write, epoch when nobody is attached. Of readers, one that was lost beside two others keeps reading.
func (d *disk) fences() bool {
	switch n := len(d.row.Ledger.Grants); d.row.Ledger.Fencing {
	case FencingHost:
		return n == 0 || n == 1 && d.row.Ledger.Access != AccessReader
	case FencingEpoch:
		return n == 0
	case FencingNone:
	}
	return false
}

// announced holds an announcement to P5.
func (w *witness) announced(d *disk, a Announcement) error {
	switch a.Kind {
	case MigrationStarted:
		f := w.newestFate(a)
		if f == nil || f.token != a.Grant || f.started || f.outcomes > 0 {
			return fmt.Errorf("P5: told %+v of %+v", a, w.fates)
		}
		f.started = true
	case MigrationCompleted, MigrationFailed, MigrationTimedOut:
		f := w.fate(TokenAt(a.At.Add(-a.Duration)))
		if f == nil || f.token != a.Grant || f.source != a.Source || f.target != a.Target {
			return fmt.Errorf("P5: told %+v of %+v", a, w.fates)
		}
		if f.outcomes++; f.outcomes > 1 {
			return fmt.Errorf("P5: a second outcome of migration %+v: %+v", *f, a)
		}
		if says := map[Verdict]AnnouncementKind{VerdictSucceeded: MigrationCompleted, VerdictFailed: MigrationFailed}; f.final != VerdictOpen && a.DecidedBy == byKubeVirt && a.Kind != says[f.final] {
			return fmt.Errorf("P5: KubeVirt said %v of migration %+v, told %+v", f.final, *f, a)
		}
		return d.agrees(a)
	case Attached:
		if !d.row.Ledger.Granted(a.Node) && !d.behind() {
			return fmt.Errorf("P5: told %+v, the box shows %+v", a, d.row)
		}
	case Detached:
		if d.row.Ledger.Granted(a.Node) && !d.behind() {
			return fmt.Errorf("P5: told %+v, the box shows %+v", a, d.row)
		}
		return w.seat(a.Node).parted(d)
	case StaleCleared:
		d.expire(a.At)
		return w.unpublished(d, Unpublish{Node: a.Node})
	case Conflict, Adopted, Repaired:
	}
	return nil
}

func (w *witness) newestFate(a Announcement) *fate {
	for i := len(w.fates) - 1; i >= 0; i-- {
		if f := &w.fates[i]; f.source == a.Source && f.target == a.Target {
			return f
		}
	}
	return nil
}

// agrees reports an outcome that the box's row contradicts.
func (d *disk) agrees(a Announcement) error {
	if a.DecidedBy == byKubeVirt || a.DecidedBy == byDeadline && d.orchestrated {
		return nil // it knows better than the row
	}
	token := TokenAt(a.At.Add(-a.Duration))
	if gs := d.row.Ledger.Grants; len(gs) == 2 && gs[1].At != token {
		return nil // that was pending when the next migration began
	}
	source, target := d.row.Ledger.Granted(a.Source), d.row.Ledger.Granted(a.Target)
	var ok bool
	switch a.Kind {
	case MigrationCompleted:
		// Both may have left by the time that a lost answer's write is certain.
		ok = target && !source || !target && !source && d.row.Ledger.carries(token)
	case MigrationFailed:
		ok = !target
	case MigrationTimedOut:
		ok = a.Duration >= time.Duration(d.row.Ledger.Timeout)*time.Second
	}
	if !ok && !d.behind() && d.row.Exists {
		return fmt.Errorf("P5: told %+v, the box shows %+v", a, d.row)
	}
	return nil
}

// holds checks what must be true at any moment: P1 on the box's row and on what callers were told, and
// that both agree.
func (w *witness) holds(d *disk) error {
	if d.row.Exists && d.row.Ours {
		if err := d.row.Ledger.check(); err != nil {
			return fmt.Errorf("P1: the box shows a ledger with %w", err)
		}
		if err := d.hiddenChangesNothing(); err != nil {
			return err
		}
	}
	told := 0
	for i := range w.seats {
		s := &w.seats[i]
		if s.off && d.row.Ledger.Granted(s.node) && !d.behind() {
			return fmt.Errorf("P6: node %s is detached, or was never attached, the box shows %+v", s.node, d.row)
		}
		if !s.told {
			continue
		}
		told++
		if d.behind() {
			continue
		}
		if d.row.Ours && !d.row.Ledger.Granted(s.node) {
			return fmt.Errorf("P1: node %s was told that it has the volume, the box shows %+v", s.node, d.row)
		}
		if d.row.Export && !d.letsIn(s) {
			return fmt.Errorf("P1: node %s was told that it has %s, it is not let in by %+v", s.node, s.nqn, d.row)
		}
		if !d.row.Export && !d.row.Ledger.Off {
			return fmt.Errorf("P1: node %s has the volume, and the export is off: %+v", s.node, d.row)
		}
	}
	most := map[Access]int{AccessNone: 0, AccessSingle: 1, AccessShared: 2, AccessReader: told}[d.row.Ledger.Access]
	if told > most && !d.behind() && d.row.Ours {
		return fmt.Errorf("P1: %d nodes were told that they have the volume: %+v", told, w.seats)
	}
	return nil
}

// hiddenChangesNothing holds that a row which hid its NQN and port while the export is off would be read
// as it is.
func (d *disk) hiddenChangesNothing() error {
	l := d.row.Ledger
	if l.Port != d.row.Port {
		return fmt.Errorf("P4: port %d, and in the ledger %d", d.row.Port, l.Port)
	}
	if nqn := l.NQN(d.row.ID); nqn != d.row.NQN && (nqn != "" || !d.row.Export || len(l.Grants) < 2 && l.Left == "") {
		return fmt.Errorf("P4: NQN %s, and by the ledger %s", d.row.NQN, l)
	}
	return nil
}

// atRest checks what must be true of an actor whose row is certain: that a restart would change nothing
// (P4), and that the outcome of each migration that is over was told (P5).
func (w *witness) atRest(d *disk, s State, now time.Time) error {
	if s.inflight != inflightNone || !s.known || s.Unresolved() || len(d.lost) > 0 || d.behind() {
		return nil
	}
	if at := s.Deadline(); !at.IsZero() && !at.After(now) {
		return nil // a timer that is late
	}
	if s.vol.Ours && s.vol.Ledger.Cluster != testCluster {
		return nil // what it takes for another cluster's decides nothing; an earlier process's take-over may have landed since
	}
	mg, open := s.open()
	if !open {
		mg, open = d.row.Ledger.pending()
	}
	for i := range w.fates {
		f := &w.fates[i]
		if open && mg.target.At == f.token {
			f.started = true
		} else if f.started && f.outcomes == 0 && !f.unsure {
			return fmt.Errorf("P5: no outcome of migration %+v, the box shows %+v", *f, d.row)
		}
	}
	return restartChangesNothing(s, d.row, now)
}

// restartChangesNothing rebuilds the state from the row alone.
func restartChangesNothing(s State, row Volume, now time.Time) error {
	rules := s.rules
	rules.Quiet = time.Time{}
	r, _ := Step(NewState(s.id, rules), now, Observed{})
	r, effects := Step(r, now, Done{Volume: row})
	before, after := s.vol, r.vol
	// A refused entry is tried at once by who does not know; what KubeVirt said is asked again.
	timers := s.entries == (backoff{}) && len(s.queue) == 0 && !rules.Orchestrated
	if !sameVolume(before, after) || s.Migrating() != r.Migrating() || timers && (!s.Deadline().Equal(r.Deadline()) || len(effects) > 0) {
		return fmt.Errorf("P4: a restart makes of %+v, due %v\n%+v, due %v, with %+v", before, s.Deadline(), after, r.Deadline(), effects)
	}
	return nil
}

// sameVolume compares without reflection what differs often.
func sameVolume(a, b Volume) bool {
	if a.Ledger.Gen != b.Ledger.Gen || !slices.Equal(a.Ledger.Grants, b.Ledger.Grants) {
		return false
	}
	a.Ledger.Grants, b.Ledger.Grants = nil, nil
	return reflect.DeepEqual(a, b)
}
