// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// A simBox is the simulated box, under the witness's eyes. It serves one driver process after another.
type simBox struct {
	SimulatedBox
	seed uint64
	dir  string
	fail func(error) // ends the schedule

	mu     sync.Mutex
	vols   map[VolumeID]*simVolume
	ids    []VolumeID
	calm   bool      // nothing goes wrong any more
	steady time.Time // what was done before, no reboot forgets
	hash   uint64    // of what has happened, whatever the order of what happened at one instant
	log    func(string, ...any)

	cluster *simCluster
	living  func() *simProcess // nil: none is up
}

// A simVolume is one volume's row, with the witness that watches it.
type simVolume struct {
	disk
	witness witness
	id      VolumeID
	sent    uint64     // the newest gen that the living process has sent
	flight  *simFlight // the living process's write or operation
	lives   int        // how often its disk was removed
	shrunk  bool       // a reboot forgot an expand, and nobody has looked since
	state   *State     // of the living process's actor; nil: it has none
	tickets Waiter
	timeout int
	fencing Fencing
	access  Access
	salt    uint64 // of its draws

	attachments [3]simAttachment // by playNodes
	jobs        []*simJob        // oldest first
	ears        map[Token]*ear   // by the token of the target's grant
	strange     time.Time        // until then no PersistentVolume of the cluster's names it
	busy        time.Time        // when something else than a migration occupied its actor last, or it had none
}

// begin turns the box on, with the rows that it has to begin with.
func (b *simBox) begin() {
	var err error
	seeded := false
	b.SimulatedBox, err = NewSimulated(SimulatedConfig{
		Seed: b.seed, Dir: b.dir, Cluster: testCluster, CommandTimeout: testRules.CommandTimeout,
		Calm: func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.calm || !seeded
		},
		Changed: func(row Volume) {
			if seeded {
				b.changed(row)
			}
		},
	})
	if err != nil {
		b.fail(err)
		return
	}
	for _, id := range b.ids {
		if err := b.Put(b.vols[id].row); err != nil {
			b.fail(err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	seeded, b.steady = true, time.Now()
	for _, row := range b.Rows() {
		b.vols[row.ID].row = row
	}
}

// end turns it off.
func (b *simBox) end() {
	if err := b.Close(); err != nil {
		b.fail(err)
	}
}

// A simFlight is a write or an operation on its way.
type simFlight struct {
	rows    []Row
	op      OpKind // instead of rows
	landed  int    // of the rows
	before  int    // of them, when it was sent
	repeats bool   // one that was given up may be what lands
}

// A simView is the box as one driver process sees it.
type simView struct {
	box    *simBox
	driver SimulatedDriver
	died   chan struct{}       // closed when the process has crashed
	listed map[VolumeID]Ledger // as it was last, or as an actor knew it then that knew it better
}

func (v *simView) gone() bool {
	select {
	case <-v.died:
		return true
	default:
		return false
	}
}

// draw returns the chances of something that happens to a volume now. They go by the instant: of two things that do
// at one, neither is the first.
func (b *simBox) draw(vol *simVolume, what string) *rand.Rand {
	h := simTrace(vol.salt)
	h.text(what)
	h.num(uint64(time.Now().UnixNano())) //nolint:gosec // it is only mixed in
	return rand.New(rand.NewPCG(b.seed, uint64(h)))
}

// note adds to the trace what has happened. b.mu is held.
func (b *simBox) note(id VolumeID, format string, args ...any) {
	now := time.Now().UnixNano()
	h := simTrace(14695981039346656037)
	h.num(uint64(now)) //nolint:gosec // it is only mixed in
	h.text(string(id))
	h.text(format)
	for _, arg := range args {
		h.add(arg)
	}
	b.hash += uint64(h)
	if b.log != nil {
		b.log("%d %s %s", now, id, fmt.Sprintf(format, args...))
	}
}

// must ends the schedule where a promise was broken. b.mu is held.
func (b *simBox) must(vol *simVolume, err error) {
	if err != nil {
		b.fail(fmt.Errorf("%s volume %s: %w", time.Now().UTC().Format("15:04:05.000000"), vol.id, err))
	}
}

// took returns how long a question to the cluster takes.
func took(r *rand.Rand) time.Duration {
	d := 5*time.Millisecond + time.Duration(r.Int64N(int64(80*time.Millisecond)))
	if r.IntN(12) == 0 {
		d += time.Duration(r.Int64N(int64(4 * time.Second)))
	}
	return d
}

// pause waits, and reports whether the process lived that long.
func (v *simView) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return !v.gone()
	case <-v.died:
		return false
	}
}

// odd waits for an odd time, and reports whether the process lived that long: a session that ends, or a listing that
// many have waited for, ends many waits at one instant, and who goes on first is to be the seed's choice.
func (v *simView) odd(id VolumeID, what string) bool {
	r := v.box.draw(v.box.vols[id], what)
	return v.pause(time.Duration(r.Int64N(int64(time.Millisecond))) + 1)
}

func (v *simView) Read(ctx context.Context, id VolumeID) (Volume, error) {
	if !v.odd(id, "read") {
		return Volume{}, ErrUnavailable
	}
	vol := v.box.vols[id]
	v.box.mu.Lock()
	life := vol.lives
	v.box.mu.Unlock()
	row, err := v.driver.Read(ctx, id)
	if !v.odd(id, "read") {
		return Volume{}, ErrUnavailable
	}
	v.box.mu.Lock()
	defer v.box.mu.Unlock()
	if err == nil && life == vol.lives {
		vol.acked, vol.shrunk = max(vol.acked, row.Ledger.Gen), vol.shrunk && row.Size != vol.row.Size
	}
	return row, err
}

func (v *simView) List(ctx context.Context) ([]Volume, error) {
	first := v.box.ids[0]
	if !v.odd(first, "list") {
		return nil, ErrUnavailable
	}
	rows, err := v.driver.List(ctx)
	if !v.odd(first, "list") {
		return nil, ErrUnavailable
	}
	if err == nil {
		v.box.mu.Lock()
		defer v.box.mu.Unlock()
		v.listed = map[VolumeID]Ledger{}
		for _, row := range rows {
			if row.Ledger.Cluster != testCluster {
				continue
			}
			v.listed[row.ID] = row.Ledger
			if st := v.box.vols[row.ID].state; st != nil && st.vol.Ours && st.vol.Ledger.Gen > row.Ledger.Gen {
				v.listed[row.ID] = st.vol.Ledger
			}
		}
	}
	return rows, err
}

func (v *simView) Write(ctx context.Context, w Write) error {
	b := v.box
	b.mu.Lock()
	if v.gone() {
		b.mu.Unlock()
		return ErrUnavailable
	}
	vol := b.vols[w.Volume]
	f := &simFlight{rows: w.Rows, landed: vol.shows(w.Rows)}
	f.before = f.landed
	f.repeats = slices.ContainsFunc(vol.lost, func(l lostRow) bool { return l.row.Ledger.String() == w.Rows[0].Ledger.String() })
	b.note(vol.id, "sent %v %v", w.Revoke, w.last().Ledger)
	if b.cluster.asked {
		b.must(vol, vol.keeps(w, time.Now()))
		b.must(vol, vol.timely(w, time.Now()))
	}
	var e Effect = GrantRow{Write: w}
	if w.Revoke {
		e = RevokeRow{Write: w}
	}
	b.must(vol, vol.witness.sent(&vol.disk, e, time.Now()))
	vol.sent, vol.flight = max(vol.sent, w.last().Ledger.Gen), f
	b.mu.Unlock()
	if !v.odd(vol.id, "write") {
		return ErrUnavailable
	}
	err := v.driver.Write(ctx, w)
	if !v.odd(vol.id, "write") {
		return ErrUnresolved
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	vol.flight = nil
	b.note(vol.id, "answered %d: %v", w.last().Ledger.Gen, err == nil)
	switch {
	case errors.Is(err, ErrUnresolved):
		vol.giveUp(late(f.rows, f.landed), time.Now())
	case err != nil:
		vol.busy = time.Now()
		if f.landed > f.before && !f.repeats {
			b.must(vol, fmt.Errorf("P2: %d rows were written, and the driver is told %w", f.landed, err))
		}
	case f.landed < len(f.rows):
		b.must(vol, fmt.Errorf("P2: %d of %d rows were written, and the driver is told of all", f.landed, len(f.rows)))
	default:
		vol.acknowledge(f.rows[len(f.rows)-1])
	}
	return err
}

// operate is the work of an exclusive operation.
func (v *simView) operate(ctx context.Context, id VolumeID, kind OpKind) (Volume, error) {
	b := v.box
	b.mu.Lock()
	if v.gone() {
		b.mu.Unlock()
		return Volume{}, ErrUnavailable
	}
	vol, f := b.vols[id], &simFlight{op: kind}
	b.note(id, "runs %s", kind)
	b.must(vol, vol.witness.sent(&vol.disk, Run{Op: Operation{Kind: kind}}, time.Now()))
	vol.flight = f
	is := vol.row
	if kind == OpCreate {
		is = vol.created()
	}
	b.mu.Unlock()
	if !v.odd(id, "operate") {
		return Volume{}, ErrUnavailable
	}
	row, err := v.driver.Operate(ctx, kind, is)
	if !v.odd(id, "operate") {
		return Volume{}, ErrUnresolved
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	vol.flight = nil
	if b.note(id, "ran %s: %v", kind, err == nil); errors.Is(err, ErrUnresolved) {
		vol.lost = append(vol.lost, lostRow{op: kind, at: time.Now()})
	}
	return row, err
}

// changed notes what a command has made of a row.
func (b *simBox) changed(row Volume) {
	b.mu.Lock()
	defer b.mu.Unlock()
	vol := b.vols[row.ID]
	before := vol.row
	vol.land(row)
	if !before.Exists || !row.Exists || !before.Ours || before.Ledger.Cluster != testCluster {
		b.steady = time.Now()
	}
	b.note(vol.id, "shows %s", row.Ledger)
	b.must(vol, vol.witness.landed(&vol.disk, before, false))
	b.cluster.parted(vol, before.Ledger)
	vol.expire(time.Now())
	b.must(vol, vol.witness.holds(&vol.disk))
}

// land makes a row what the box shows, and notes what it was that landed.
func (vol *simVolume) land(row Volume) {
	before, ledger := vol.row, row.Ledger.String()
	op := OpExpand
	switch vol.row = row; {
	case !row.Exists:
		vol.operate(OpDelete, Volume{})
		vol.lives++
		op = OpDelete
	case !before.Exists:
		op = OpCreate
	case ledger != before.Ledger.String():
		vol.stray = row.Ledger.Gen <= vol.acked
		op = ""
	}
	if f := vol.flight; f != nil {
		if n := vol.shows(f.rows); op == "" && n > 0 {
			f.landed = n
			return
		}
	}
	i := slices.IndexFunc(vol.lost, func(l lostRow) bool { return l.op == op && (op != "" || l.row.Ledger.String() == ledger) })
	if i >= 0 {
		vol.lost = slices.Delete(vol.lost, i, i+1)
	}
}

// shows returns how many of the rows of a write it needs no change to be shown: what was given up may have landed.
func (vol *simVolume) shows(rows []Row) int {
	return 1 + slices.IndexFunc(rows, func(r Row) bool { return r.Ledger.String() == vol.row.Ledger.String() })
}

// reboot ends every session, and forgets what was written in the last seconds.
func (b *simBox) reboot(forgets, away time.Duration) {
	now := time.Now()
	b.Away(now.Add(away))
	b.mu.Lock()
	// A disk that was added stays, and so does an adoption.
	forgets = min(forgets, now.Sub(b.steady)-1)
	b.mu.Unlock()
	if err := b.Reboot(forgets); err != nil {
		b.fail(err)
	}
	rows := map[VolumeID]Volume{}
	for _, row := range b.Rows() {
		rows[row.ID] = row
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range b.ids {
		vol := b.vols[id]
		before := vol.row
		vol.lost, vol.stray = nil, false
		if vol.row = rows[id]; !vol.row.Exists {
			vol.row = Volume{ID: id}
		}
		if before.Ledger.Gen > vol.row.Ledger.Gen && before.Ledger.Gen > max(vol.acked, vol.sent) {
			vol.witness.amnesia(&vol.disk)
			vol.unhold()
		}
		vol.shrunk = vol.shrunk || vol.row.Size < before.Size
		b.note(id, "comes back with %s", vol.row.Ledger)
		b.must(vol, vol.witness.landed(&vol.disk, before, true))
		b.cluster.parted(vol, before.Ledger)
	}
}

// unhold notes that nobody is left who knows of a grant that the box forgot.
func (vol *simVolume) unhold() {
	for i, node := range playNodes {
		a := &vol.attachments[i]
		a.held = a.held && vol.row.Ledger.Granted(node)
	}
}

// crashed notes that a process is gone at this instant.
func (b *simBox) crashed(v *simView) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(v.died)
	now := time.Now()
	for _, id := range b.ids {
		vol := b.vols[id]
		if f := vol.flight; f != nil {
			vol.flight = nil
			if f.op != "" {
				vol.lost = append(vol.lost, lostRow{op: f.op, at: now})
			} else {
				vol.giveUp(late(f.rows, f.landed), now)
			}
		}
		vol.expire(now)
		if vol.behind() {
			vol.unhold()
		}
		vol.witness.crashed(&vol.disk)
		vol.sent, vol.state = 0, nil
		vol.deafened()
		for i := range vol.attachments {
			vol.attachments[i].seen = false
		}
		b.note(id, "its driver is gone")
	}
}
