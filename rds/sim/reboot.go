// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Reboot turns the power off and on: every connection ends, changes under way are lost, and the box
// comes back on the same addresses with its saved configuration and the same files. The context
// bounds the wait for another reboot and the start.
func (s *Sim) Reboot(ctx context.Context) error { return s.reboot(ctx, time.Time{}) }

// RebootLosing is Reboot of a box that had not yet saved what was changed in the configuration in the
// last time before the call; the files stay as they are. It is known for the last few thousand changes since
// the power came on.
func (s *Sim) RebootLosing(ctx context.Context, last time.Duration) error {
	if last <= 0 {
		return s.Reboot(ctx)
	}
	return s.reboot(ctx, time.Now().Add(-last))
}

// reboot loses what was changed since a time; zero: nothing.
func (s *Sim) reboot(ctx context.Context, lose time.Time) error {
	b, release, err := s.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := b.stop(); err != nil {
		return fmt.Errorf("reboot the simulated box: %w", err)
	}
	next, err := s.hw.boot(ctx, again{again: true, lose: lose, filled: b.machine.table().filled})
	if err != nil {
		return fmt.Errorf("reboot the simulated box: %w", err)
	}
	s.mu.Lock()
	s.current = next
	s.mu.Unlock()
	return nil
}

// again is what a boot must know of the one before. The zero again is the first boot.
type again struct {
	again  bool
	lose   time.Time // what was changed in the configuration since is lost; zero: nothing
	filled int64     // of the pool
}

// load returns the table that a boot begins with.
func (h *hardware) load(a again) (table, error) {
	t, err := h.store.load()
	if err != nil {
		return t, err
	}
	sw := h.cfg.Switches
	t.filled = a.filled
	if !a.lose.IsZero() {
		t = h.store.rewind(t, a.lose)
	}
	h.store.history = nil
	if a.again && sw.RenumberIDs {
		t = t.renumbered()
	}
	if a.again && (sw.PoolDelay > 0 || sw.DiskDelay > 0) {
		t.poolLate = sw.PoolDelay > 0
		t.late = make(map[diskID]struct{}, len(t.disks))
		for _, d := range t.disks {
			t.late[d.ID] = struct{}{}
		}
	}
	t = t.equipped(h.settings.now(), sw)
	if err := h.store.saveWhole(t); err != nil {
		return t, fmt.Errorf("save the box's configuration: %w", err)
	}
	return t, nil
}

// renumbered returns a table with other .ids, of which some were another row's.
func (t table) renumbered() table {
	disks := slices.Clone(t.disks)
	slices.SortFunc(disks, func(a, b disk) int { return -strings.Compare(a.Slot, b.Slot) })
	for i := range disks {
		disks[i].ID = poolID + 1 + diskID(i)
	}
	t.next = poolID + 1 + diskID(len(disks))
	t.disks = disks
	return t
}

// comeBack lets what is late in a table arrive in its time.
func (b *boot) comeBack(t table) {
	sw := b.cfg.Switches
	if t.poolLate {
		b.later(sw.PoolDelay, func() { b.machine.arrive(0) })
	}
	at := sw.PoolDelay
	for _, d := range t.disks {
		if _, late := t.late[d.ID]; late {
			at += sw.DiskDelay
			b.later(at, func() { b.machine.arrive(d.ID) })
		}
	}
}

// arrive lets a row come back, or, for 0, the pool. It is called from the loop.
func (m *machine) arrive(id diskID) {
	next := m.table()
	if _, held := next.held[id]; held || next.gone {
		return // until the settings change
	}
	next.late = maps.Clone(next.late)
	next.poolLate = next.poolLate && id != 0
	_, late := next.late[id]
	delete(next.late, id)
	i := next.row(id)
	if late && i >= 0 {
		if err := m.exports.change(disk{}, next.disks[i]); err != nil {
			m.log.Warn("disk is not exported", "slot", next.disks[i].Slot, "error", err)
		}
	}
	m.view.Store(&next)
	if late && i >= 0 {
		m.watchers.tell([]change{{next: next.disks[i]}})
	}
}

// poolState is the state of the pool's row.
func (b *boot) poolState() string {
	if state := b.settings.now().poolState; state != "" {
		return state
	}
	resync := b.cfg.Switches.Resync
	if resync < 0 || b.again && time.Since(b.since) < resync {
		return "clean, sync:repair, 12.5%"
	}
	return "clean"
}
