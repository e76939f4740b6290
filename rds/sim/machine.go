// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// errPowerOff is what becomes of a command when the power goes off: nobody will be answered.
var errPowerOff = errors.New("power off")

// A machine owns the table of a boot. Its goroutine is the only one that makes a new table; everyone
// may read the last one.
type machine struct {
	pool     pool
	store    *store
	exports  *exports
	watchers *watchers
	log      *slog.Logger
	changed  func(old, next Disk)

	requests chan func()
	done     chan struct{} // closed when the loop has ended
	view     atomic.Pointer[table]
}

func newMachine(p pool, st *store, ex *exports, t table, cfg Config) *machine {
	m := &machine{
		pool: p, store: st, exports: ex, watchers: newWatchers(), log: cfg.Logger, changed: cfg.Changed,
		requests: make(chan func()), done: make(chan struct{}),
	}
	m.view.Store(&t)
	return m
}

// table returns the last table. It is never changed.
func (m *machine) table() table { return *m.view.Load() }

// run is the machine's loop. It begins with the exports of the table it was made with, and leaves
// them on when ctx ends: they are the owner's to end.
func (m *machine) run(ctx context.Context) {
	defer close(m.done)
	t := m.table()
	for _, d := range t.disks {
		if _, late := t.late[d.ID]; late {
			continue
		}
		if err := m.exports.change(disk{}, d); err != nil {
			m.log.Warn("disk is not exported", "slot", d.Slot, "error", err)
		}
	}
	for {
		select {
		case f := <-m.requests:
			f()
		case <-ctx.Done():
			return
		}
	}
}

// do runs f in the loop and waits for its end.
func (m *machine) do(ctx context.Context, f func()) error {
	ran := make(chan struct{})
	select {
	case m.requests <- func() { f(); close(ran) }:
		<-ran // what the loop has taken it carries out
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-m.done:
		return errPowerOff
	}
}

// change makes the table that f returns the box's, with all that belongs to it, or leaves everything
// as it was. The error is f's own, or a trap.
func (m *machine) change(ctx context.Context, f func(table) (table, error)) error {
	var err error
	if lost := m.do(ctx, func() {
		old := m.table()
		var next table
		next, err = f(old)
		var left *leftover
		switch {
		case err == nil:
			err = m.commit(old, next)
		case errors.As(err, &left):
			err = errors.Join(left.refusal, m.commit(old, left.table))
		}
	}); lost != nil {
		return lost
	}
	return err
}

// changeQuietly is change of which hosts get no events.
func (m *machine) changeQuietly(ctx context.Context, f func(table, pool) (table, error)) error {
	var err error
	if lost := m.do(ctx, func() {
		m.exports.quiet = true
		defer func() { m.exports.quiet = false }()
		old := m.table()
		var next table
		if next, err = f(old, m.pool); err == nil {
			err = m.commit(old, next)
		}
	}); lost != nil {
		return lost
	}
	return err
}

// commit does the work between two tables and publishes the new one. What fails is undone.
func (m *machine) commit(old, next table) error {
	changes := diff(old.disks, next.disks)
	if err := m.store.apply(old.files, next.files); err != nil {
		m.undo(old, next, nil)
		m.log.Error("box's files cannot be changed", "error", err)
		return failure("input/output error")
	}
	for i, c := range changes {
		if err := m.export(old, c); err != nil {
			m.undo(old, next, changes[:i])
			return err
		}
	}
	if len(changes) > 0 {
		if err := m.store.save(old.next, next, changes, time.Now()); err != nil {
			m.undo(old, next, changes)
			m.log.Error("box's configuration cannot be saved", "error", err)
			return failure("configuration cannot be saved")
		}
	}
	m.view.Store(&next)
	m.watchers.tell(changes)
	for _, c := range changes {
		m.changed(c.old.shown(m.pool.switches), c.next.shown(m.pool.switches))
	}
	return nil
}

// export does what a change of a row asks of the exports. One that has not come back after a reboot
// has none.
func (m *machine) export(t table, c change) error {
	if _, late := t.late[c.id()]; late {
		return nil
	}
	return m.exports.change(c.old, c.next)
}

// undo takes back what a failed commit did.
func (m *machine) undo(old, next table, done []change) {
	for _, c := range done {
		if err := m.export(old, change{old: c.next, next: c.old}); err != nil {
			m.log.Error("export cannot be restored", "slot", c.old.Slot, "error", err)
		}
	}
	if err := m.store.apply(next.files, old.files); err != nil {
		m.log.Error("box's files cannot be restored", "error", err)
	}
}

// A change is a row in two tables. A side that has no such row is the zero disk.
type change struct{ old, next disk }

// id is the row's ID.
func (c change) id() diskID { return max(c.old.ID, c.next.ID) }

// diff returns the rows in which two tables differ, by ascending ID, with the rows that go first: a
// name that one gives up another may take.
func diff(old, next []disk) []change {
	var gone, rest []change
	for len(old) > 0 || len(next) > 0 {
		switch {
		case len(next) == 0 || len(old) > 0 && old[0].ID < next[0].ID:
			gone = append(gone, change{old: old[0]})
			old = old[1:]
		case len(old) == 0 || next[0].ID < old[0].ID:
			rest = append(rest, change{next: next[0]})
			next = next[1:]
		default:
			if old[0] != next[0] {
				rest = append(rest, change{old: old[0], next: next[0]})
			}
			old, next = old[1:], next[1:]
		}
	}
	return append(gone, rest...)
}
