// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A disk is one volume's row as the box has it, and what may happen to it yet.
type disk struct {
	row   Volume
	lost  []lostRow // of commands that were given up: each lands, or not, within CommandTimeout
	acked uint64    // the newest gen that the box acknowledged to the living process, or showed it
	stray bool      // a row that was lost landed last, over one that was acknowledged

	orchestrated bool // somebody else's limits of migrations count
}

// A lostRow is what a command that was given up at a point in time may do yet.
type lostRow struct {
	row   Row
	at    time.Time
	write uint64 // tells the rows of one write from another's: they land in order
	op    OpKind // not a row but an operation's work
}

// put makes the box carry out a row's write, and reports whether there was a row to write.
func (d *disk) put(row Row) bool {
	if d.row.Exists {
		d.row.Ours = true
		d.stray = row.Ledger.Gen <= d.acked
		d.row.Export, d.row.NQN, d.row.AllowHost, d.row.Ledger = row.Export, row.NQN, row.AllowHost, row.Ledger
	}
	return d.row.Exists
}

// acknowledge notes that the living process learns of its row.
func (d *disk) acknowledge(row Row) {
	d.acked = row.Ledger.Gen
	d.stray = d.stray || d.row.Exists && d.row.Ledger.String() != row.Ledger.String()
}

// operate does an exclusive operation as the box would.
func (d *disk) operate(kind OpKind, created Volume) {
	switch {
	case kind == OpDelete:
		d.row, d.acked, d.stray = Volume{ID: d.row.ID}, 0, false
	case kind == OpCreate && !d.row.Exists:
		d.row = created
	}
}

// late returns which rows of a write that is given up may still land, once the box has carried out so many. A third is
// not sent before the first two are acknowledged.
func late(rows []Row, served int) []Row {
	if served < 2 {
		rows = rows[:min(len(rows), 2)]
	}
	return rows[served:]
}

// giveUp notes rows whose command was given up.
func (d *disk) giveUp(rows []Row, now time.Time) {
	for _, row := range rows {
		d.lost = append(d.lost, lostRow{row: row, at: now, write: rows[0].Ledger.Gen})
	}
}

// expire drops what cannot land any more.
func (d *disk) expire(now time.Time) {
	d.lost = slices.DeleteFunc(d.lost, func(l lostRow) bool { return !now.Before(l.at.Add(testRules.CommandTimeout)) })
}

// behind reports whether the row is from before one that was acknowledged: the box forgot, or a lost
// row strayed in.
func (d *disk) behind() bool { return d.row.Exists && (d.stray || d.row.Ledger.Gen < d.acked) }

// A witness stands outside of the driver. It sees the box's row as it is, what is sent there, what
// callers are told and what is announced, and holds that to the promises P1 to P6. The fuzzer, the
// exploration and the simulation share it.
//
// It knows the documented limits: an outcome is announced at most once, not exactly once, if the process
// crashes between the box's carrying out the write that records it and the telling; and what the box
// forgot of its last seconds is gone if the process crashes before it noticed.
type witness struct {
	asked []asking // not answered yet, oldest first
	seats []seat
	fates []fate
	epoch Token // the newest that a first grant was sent with

	admitted bool // the cluster has just admitted a second node
}

// asking is a request that waits for its answer.
type asking struct {
	waiter Waiter
	ev     Event
	gone   bool // the caller's patience is over; the operation goes on
}

func (a asking) String() string { return asked(a.ev) }

// A seat is a node as its kubelet and the box's target see it. It tries to stay connected until it
// confirmed its detach, a lost one for good.
type seat struct {
	node NodeID
	nqn  string // that it was told of
	told bool   // its publish was answered OK and nobody has asked for its detach since
	live bool   // it is connected
	off  bool   // it was answered that it is detached, or was never attached, and nobody has asked for it since
}

// A fate is what has become of one migration.
type fate struct {
	source, target NodeID
	token          Token // of the target's grant
	started        bool  // its start was told, or a restarted process has taken it over
	outcomes       int   // that were told
	unsure         bool  // a crash may have cost the telling

	final Verdict // how KubeVirt says that it ended; VerdictOpen: it has not said
	heard bool    // the living process has heard that
	ruled bool    // an outcome was sent to the ledger
}

func newWitness(nodes ...NodeID) witness {
	var w witness
	for _, node := range nodes {
		w.seats = append(w.seats, seat{node: node, off: true})
	}
	return w
}

func (w *witness) clone() witness {
	return witness{asked: slices.Clone(w.asked), seats: slices.Clone(w.seats), fates: slices.Clone(w.fates), epoch: w.epoch, admitted: w.admitted}
}

func (w *witness) seat(node NodeID) *seat {
	for i := range w.seats {
		if w.seats[i].node == node {
			return &w.seats[i]
		}
	}
	w.seats = append(w.seats, seat{node: node, off: true})
	return &w.seats[len(w.seats)-1]
}

func (w *witness) fate(token Token) *fate {
	for i := range w.fates {
		if w.fates[i].token == token {
			return &w.fates[i]
		}
	}
	return nil
}

// waiterOf returns who waits for a request's answer.
func waiterOf(ev Event) Waiter {
	switch ev := ev.(type) {
	case Publish:
		return ev.Waiter
	case Unpublish:
		return ev.Waiter
	case Exclusive:
		return ev.Waiter
	case TakeOver:
		return ev.Waiter
	case Observed, Suspected, Outcome, Done, Tick:
	}
	return 0
}

// ask notes a request.
func (w *witness) ask(ev Event) {
	w.asked = append(w.asked, asking{waiter: waiterOf(ev), ev: ev})
	switch ev := ev.(type) {
	case Publish:
		w.seat(ev.Node).off = false
	case Unpublish:
		w.leaving(ev)
	case Exclusive, TakeOver, Observed, Suspected, Outcome, Done, Tick:
	}
}

// abandon notes that a caller does not wait any longer.
func (w *witness) abandon(waiter Waiter) {
	w.asked = slices.Clone(w.asked)
	for i := range w.asked {
		if w.asked[i].waiter == waiter {
			w.asked[i].gone = true
		}
	}
}

// wants reports whether a request for a node's grant was not answered.
func (w *witness) wants(node NodeID) bool {
	return slices.ContainsFunc(w.asked, func(a asking) bool {
		pub, ok := a.ev.(Publish)
		return ok && pub.Node == node
	})
}

// leaving has the nodes leave whose detach is asked for: they know, but for the lost ones.
func (w *witness) leaving(un Unpublish) {
	for i := range w.seats {
		s := &w.seats[i]
		if un.Node != "" && un.Node != s.node {
			continue
		}
		s.told = false
		if un.Lost == "" && un.Node != "" {
			s.nqn, s.live = "", false
		}
	}
}

// connect has every node connect that is let in. What a node does that was shed, and comes back when a migration of others
// opens the export to any host, is not the driver's to answer for.
func (w *witness) connect(d *disk) {
	open := d.row.Ours && d.row.Ledger.Fencing == FencingHost && d.row.AllowHost == "" && len(d.row.Ledger.Grants) == 2
	for i := range w.seats {
		if s := &w.seats[i]; s.nqn != "" && d.letsIn(s) {
			s.live = s.live || !open || d.row.Ledger.Granted(s.node)
		}
	}
}

func (d *disk) letsIn(s *seat) bool {
	return d.row.Export && s.nqn == d.row.NQN && (d.row.AllowHost == "" || d.row.AllowHost == hostOf(s.node))
}

var playNodes = []NodeID{"node-a", "node-b", "node-c"}

// playHosts spares deriving them over and over.
var playHosts = func() map[NodeID]string {
	m := map[NodeID]string{}
	for _, node := range playNodes {
		m[node] = HostOf(testCluster, node).NQN
	}
	return m
}()

func hostOf(node NodeID) string {
	if nqn, ok := playHosts[node]; ok {
		return nqn
	}
	return HostOf(testCluster, node).NQN
}

// landed notes that the box's row has become what it is now. rebooted: every connection ended.
func (w *witness) landed(d *disk, before Volume, rebooted bool) error {
	if rebooted || !d.row.Export || d.row.NQN != before.NQN {
		for i := range w.seats {
			w.seats[i].live = false
		}
	}
	w.connect(d)
	gs := d.row.Ledger.Grants
	if d.row.Ledger.Access != AccessShared || len(gs) != 2 || w.fate(gs[1].At) != nil {
		return nil
	}
	// Who came last is the target, whatever the ledger's order says.
	f := fate{source: gs[0].Node, target: gs[1].Node, token: gs[1].At}
	if before.Ledger.Gen >= d.acked && before.Ledger.Granted(f.target) && !before.Ledger.Granted(f.source) {
		return fmt.Errorf("P4: %s was granted after %s, the ledger says %s", f.source, f.target, d.row.Ledger)
	}
	w.fates = append(w.fates, f)
	return nil
}

// sent holds an effect that talks to the box to P2 and P7.
func (w *witness) sent(d *disk, e Effect, now time.Time) error {
	d.expire(now)
	if run, ok := e.(Run); ok && run.Op.Kind == OpDelete {
		for _, s := range w.seats {
			if s.told {
				return fmt.Errorf("P7: deleted while node %s has it", s.node)
			}
		}
	}
	if _, ok := e.(Run); ok && len(d.lost) > 0 {
		return fmt.Errorf("P2: %#v while %+v may land", e, d.lost)
	}
	write, ok := writeOf(e)
	if !ok {
		return nil
	}
	for i, row := range write.Rows {
		if row.Ledger.Off && row.Ledger.Bounce == 0 {
			return fmt.Errorf("P4: a bounce is owed, and %s does not say so", row.Ledger)
		}
		if row.Ledger.Gen <= d.acked {
			return fmt.Errorf("P2: gen %d is written after %d was acknowledged", row.Ledger.Gen, d.acked)
		}
		if i > 0 && row.Ledger.Gen != write.Rows[i-1].Ledger.Gen+1 {
			return fmt.Errorf("P2: gens of one write: %+v", write.Rows)
		}
	}
	if err := w.rules(write); err != nil {
		return err
	}
	err := w.rights(d, write)
	w.admitted = w.admitted && write.Revoke // for one grant
	return err
}

// rules holds the outcome that a write records to what KubeVirt has said by then (P5).
func (w *witness) rules(write Write) error {
	l := write.last().Ledger
	for i := range w.fates {
		f := &w.fates[i]
		if f.ruled || !l.carries(f.token) {
			continue
		}
		f.ruled = true
		if want := map[Verdict]string{VerdictSucceeded: "success", VerdictFailed: "failed"}[f.final]; f.heard && !strings.HasPrefix(l.Told, want+".") {
			return fmt.Errorf("P5: KubeVirt said %v of migration %+v, the ledger says %s", f.final, *f, l)
		}
	}
	return nil
}

// rights holds a write to what it may give: no node that nobody asks for, and a grant nothing while
// anything may land.
func (w *witness) rights(d *disk, write Write) error {
	last := write.last()
	for _, g := range last.Ledger.Grants {
		switch {
		case w.seat(g.Node).off:
			return fmt.Errorf("P6: node %s is detached, or was never attached, and is granted by %s", g.Node, last.Ledger)
		case write.Revoke || d.row.Ledger.Granted(g.Node) || d.behind():
			continue
		case d.orchestrated && last.Ledger.Access == AccessShared && len(last.Ledger.Grants) == 2 && !w.admitted:
			return fmt.Errorf("P1: node %s is granted by %s, and nobody admitted it", g.Node, last.Ledger)
		case len(d.lost) > 0:
			return fmt.Errorf("P2: granted %s while %+v may land", last.Ledger, d.lost)
		}
		if e := last.Ledger.Epoch; len(last.Ledger.Grants) == 1 && last.Ledger.Fencing != FencingNone {
			if e <= w.epoch {
				return fmt.Errorf("P6: epoch %v after %v", e, w.epoch)
			}
			w.epoch = e
		}
	}
	return nil
}

// carries reports whether a ledger records a migration's outcome.
func (l Ledger) carries(token Token) bool {
	return strings.HasSuffix(l.Told, "."+token.String()) && !strings.HasPrefix(l.Told, pendingKind)
}

// beyond reports whether a ledger shows a later migration, which has no room for what was pending.
func (l Ledger) beyond(token Token) bool {
	mg, ok := l.migration()
	return ok && mg.target.At > token
}

// crashed notes that the process is gone, with everybody who waited; what it had sent is among the
// disk's lost rows.
func (w *witness) crashed(d *disk) {
	w.asked = nil
	for i := range w.fates {
		f := &w.fates[i]
		f.heard = false
		f.ruled = d.row.Ledger.carries(f.token) ||
			slices.ContainsFunc(d.lost, func(l lostRow) bool { return l.row.Ledger.carries(f.token) })
		if f.outcomes == 0 && (f.ruled || d.row.Ledger.beyond(f.token) ||
			slices.ContainsFunc(d.lost, func(l lostRow) bool { return l.row.Ledger.beyond(f.token) })) {
			f.unsure = true
		}
	}
	if d.behind() {
		w.amnesia(d)
	}
	d.acked, d.stray = 0, false
}

// amnesia notes that the box forgot what no living process knows.
func (w *witness) amnesia(d *disk) {
	for i := range w.fates {
		w.fates[i].outcomes, w.fates[i].unsure = 0, true
	}
	for i := range w.seats {
		s := &w.seats[i]
		if !d.row.Ledger.Granted(s.node) || d.row.NQN != s.nqn {
			s.told = false
		}
		if d.row.Ledger.Granted(s.node) {
			s.off = false
		}
	}
}
