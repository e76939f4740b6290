// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// A simBox is a box in memory that serves one driver process after another. Each command takes its
// time; answers are lost, rows land late, and a reboot forgets the last seconds of configuration. All
// of it is drawn from the seed and from how many commands its volume has seen, never from the order in
// which goroutines run.
type simBox struct {
	seed uint64
	fail func(error) // ends the schedule

	mu    sync.Mutex
	vols  map[VolumeID]*simVolume
	ids   []VolumeID
	away  time.Time // until then nothing can be sent
	calm  bool      // nothing goes wrong any more
	boots int
	hash  uint64 // of what has happened, whatever the order of what happened at one instant
	log   func(string, ...any)

	cluster *simCluster
	living  func() *simProcess // nil: none is up
}

// A simVolume is one volume's row, with the witness that watches it.
type simVolume struct {
	disk
	witness witness
	id      VolumeID
	draws   uint64     // of commands
	past    []pastRow  // what a reboot may bring back
	sent    uint64     // the newest gen that the living process has sent
	flight  *simFlight // the living process's write
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

type pastRow struct {
	until time.Time
	row   Volume
}

// A simFlight is a write on its way.
type simFlight struct {
	rows   []Row
	landed int
	dead   bool // the box rebooted: it goes no further
}

// A simView is the box as one driver process sees it.
type simView struct {
	box  *simBox
	died chan struct{} // closed when the process has crashed
}

func (v *simView) gone() bool {
	select {
	case <-v.died:
		return true
	default:
		return false
	}
}

// draw returns the chances of a volume's next command.
func (b *simBox) draw(vol *simVolume) *rand.Rand {
	vol.draws++
	return rand.New(rand.NewPCG(b.seed, vol.salt+vol.draws))
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

// took returns how long a part of a command takes: to the nanosecond, so that no two things happen at
// one instant.
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

// unsent reports whether nothing can be sent now. b.mu is held.
func (b *simBox) unsent(r *rand.Rand) bool {
	return time.Now().Before(b.away) || !b.calm && r.IntN(25) == 0
}

func (v *simView) Read(_ context.Context, id VolumeID) (Volume, error) {
	b := v.box
	b.mu.Lock()
	if v.gone() {
		b.mu.Unlock()
		return Volume{}, ErrUnavailable
	}
	vol := b.vols[id]
	r := b.draw(vol)
	unsent, boot := b.unsent(r), b.boots
	b.mu.Unlock()
	if !v.pause(took(r)) || unsent {
		return Volume{}, ErrUnavailable
	}
	b.mu.Lock()
	row := vol.row
	b.mu.Unlock()
	if !v.pause(took(r)) { // it may be stale by now
		return Volume{}, ErrUnavailable
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.boots != boot {
		return Volume{}, ErrUnavailable
	}
	vol.acked = max(vol.acked, row.Ledger.Gen)
	return row, nil
}

func (v *simView) List(context.Context) ([]Volume, error) {
	b := v.box
	if !v.pause(30*time.Millisecond + 7) {
		return nil, ErrUnavailable
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Now().Before(b.away) {
		return nil, ErrUnavailable
	}
	var rows []Volume
	for _, id := range b.ids {
		if vol := b.vols[id]; vol.row.Exists {
			rows = append(rows, vol.row)
		}
	}
	return rows, nil
}

func (v *simView) Write(_ context.Context, w Write) error {
	b := v.box
	b.mu.Lock()
	defer b.mu.Unlock()
	if v.gone() {
		return ErrUnavailable
	}
	vol := b.vols[w.Volume]
	r := b.draw(vol)
	var e Effect = GrantRow{Write: w}
	if w.Revoke {
		e = RevokeRow{Write: w}
	}
	b.note(vol.id, "sent %v %v", w.Revoke, w.last().Ledger)
	if b.cluster.asked {
		b.must(vol, vol.keeps(w, time.Now()))
		b.must(vol, vol.timely(w, time.Now()))
	}
	b.must(vol, vol.witness.sent(&vol.disk, e, time.Now()))
	if b.unsent(r) {
		vol.busy = time.Now()
		return b.unlocked(func() error { v.pause(took(r)); return ErrUnavailable })
	}
	if !b.calm && r.IntN(40) == 0 || !vol.row.Exists {
		vol.busy = time.Now()
		exists := vol.row.Exists
		return b.unlocked(func() error {
			v.pause(took(r))
			if exists {
				return ErrPrecondition
			}
			return ErrNotFound
		})
	}
	vol.sent = max(vol.sent, w.last().Ledger.Gen)
	in := len(w.Rows) // so many rows land in time
	lost := !b.calm && r.IntN(8) == 0
	if lost {
		in = r.IntN(len(w.Rows) + 1)
	}
	f := &simFlight{rows: w.Rows}
	vol.flight = f
	return b.carry(v, vol, f, r, in, lost)
}

func (b *simBox) unlocked(do func() error) error {
	b.mu.Unlock()
	defer b.mu.Lock()
	return do()
}

// carry has the rows of a write land and answers it. b.mu is held.
func (b *simBox) carry(v *simView, vol *simVolume, f *simFlight, r *rand.Rand, in int, lost bool) error {
	for f.landed < in && !f.dead {
		d := took(r)
		if f.landed > 0 {
			d = time.Duration(r.Int64N(int64(time.Millisecond))) // they were sent together
		}
		alive := true
		_ = b.unlocked(func() error { alive = v.pause(d); return nil })
		if !alive {
			b.later(vol, f, r)
			return ErrUnresolved
		}
		if !f.dead {
			b.land(vol, f.rows[f.landed])
			f.landed++
		}
	}
	wait := took(r)
	if lost {
		wait = testRules.CommandTimeout - time.Duration(r.Int64N(int64(9*time.Second)))
	}
	_ = b.unlocked(func() error { v.pause(wait); return nil })
	if v.gone() || lost || f.dead {
		b.later(vol, f, r)
		return ErrUnresolved
	}
	vol.flight = nil
	if !vol.row.Exists {
		return ErrNotFound
	}
	vol.acknowledge(f.rows[len(f.rows)-1])
	b.note(vol.id, "acknowledged %d", vol.acked)
	return nil
}

// later gives up a write: what has not landed may, or may not. b.mu is held.
func (b *simBox) later(vol *simVolume, f *simFlight, r *rand.Rand) {
	if vol.flight == f {
		vol.flight = nil
		if !f.dead {
			vol.giveUp(f.rows[f.landed:], time.Now())
		}
	}
	if f.dead || f.landed == len(f.rows) || r.IntN(3) == 0 {
		return // it never does
	}
	rows, boot := f.rows[f.landed:], b.boots
	write := rows[0].Ledger.Gen
	d := time.Duration(r.Int64N(int64(testRules.CommandTimeout * 9 / 10)))
	go func() {
		time.Sleep(d)
		for range rows {
			b.mu.Lock()
			i := slices.IndexFunc(vol.lost, func(l lostRow) bool { return l.write == write && l.op == "" })
			if i >= 0 && b.boots == boot && !b.calm {
				l := vol.lost[i]
				vol.lost = slices.Delete(vol.lost, i, i+1)
				b.land(vol, l.row)
			}
			b.mu.Unlock()
			time.Sleep(time.Microsecond + time.Duration(write))
		}
	}()
}

// land changes a volume's row. b.mu is held.
func (b *simBox) land(vol *simVolume, row Row) {
	before := vol.row
	if !vol.put(row) {
		return
	}
	b.note(vol.id, "shows %s", vol.row.Ledger)
	vol.past = append(vol.past, pastRow{time.Now(), before})
	b.must(vol, vol.witness.landed(&vol.disk, before, false))
	b.cluster.parted(vol, before.Ledger)
	vol.expire(time.Now())
	b.must(vol, vol.witness.holds(&vol.disk))
}

// reboot ends every session, and forgets what was written in the last seconds.
func (b *simBox) reboot(forgets, away time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.boots++
	now := time.Now()
	b.away = now.Add(away)
	for _, id := range b.ids {
		vol := b.vols[id]
		vol.lost, vol.stray = nil, false
		if vol.flight != nil {
			vol.flight.dead = true
		}
		before := vol.row
		for i := len(vol.past) - 1; i >= 0 && vol.row.Exists && now.Sub(vol.past[i].until) < forgets; i-- {
			if was := vol.past[i].row; !was.Exists || !was.Ours || was.Ledger.Cluster != testCluster {
				break // a disk that was added stays, and so does an adoption
			}
			vol.row = vol.past[i].row
		}
		vol.past = nil
		if before.Ledger.Gen > vol.row.Ledger.Gen && before.Ledger.Gen > max(vol.acked, vol.sent) {
			vol.witness.amnesia(&vol.disk)
		}
		b.note(id, "comes back with %s", vol.row.Ledger)
		b.must(vol, vol.witness.landed(&vol.disk, before, true))
		b.cluster.parted(vol, before.Ledger)
	}
}

// crashed notes that a process is gone at this instant.
func (b *simBox) crashed(v *simView) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(v.died)
	for _, id := range b.ids {
		vol := b.vols[id]
		if f := vol.flight; f != nil {
			vol.flight = nil
			if !f.dead {
				vol.giveUp(f.rows[f.landed:], time.Now())
			}
		}
		vol.expire(time.Now())
		vol.witness.crashed(&vol.disk)
		vol.sent, vol.state = 0, nil
		vol.deafened()
		for i := range vol.attachments {
			vol.attachments[i].seen = false
		}
		b.note(id, "its driver is gone")
	}
}

// operate is the work of an exclusive operation.
func (v *simView) operate(id VolumeID, kind OpKind) (Volume, error) {
	b := v.box
	b.mu.Lock()
	defer b.mu.Unlock()
	if v.gone() {
		return Volume{}, ErrUnavailable
	}
	vol := b.vols[id]
	r := b.draw(vol)
	b.note(id, "runs %s", kind)
	b.must(vol, vol.witness.sent(&vol.disk, Run{Op: Operation{Kind: kind}}, time.Now()))
	if b.unsent(r) {
		return Volume{}, ErrUnavailable
	}
	alive, boot := true, b.boots
	_ = b.unlocked(func() error { alive = v.pause(took(r)); return nil })
	if !alive || b.boots != boot || !b.calm && r.IntN(8) == 0 {
		return Volume{}, ErrUnresolved
	}
	before := vol.row
	vol.operate(kind, vol.created())
	vol.past = nil
	b.must(vol, vol.witness.landed(&vol.disk, before, false))
	row := vol.row
	if !b.calm && r.IntN(8) == 0 {
		return Volume{}, ErrUnresolved // it happened
	}
	return row, nil
}
