// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"strconv"
)

// Inject puts a fault in force and returns the number by which it is cleared. It outlives reboots. The
// error is a pattern's.
func (s *Sim) Inject(r Rule) (id int, err error) {
	if err := r.check(); err != nil {
		return 0, fmt.Errorf("inject a fault: %w", err)
	}
	return s.hw.faults.add(r), nil
}

// Faults returns the faults in force, the oldest first, also those that are used up.
func (s *Sim) Faults() []Injected { return s.hw.faults.list() }

// ClearFault ends a fault and lets go what it holds. It reports whether there was one.
func (s *Sim) ClearFault(id int) bool {
	return s.hw.faults.clear(func(in Injected) bool { return in.ID == id }) > 0
}

// ClearFaults ends every fault.
func (s *Sim) ClearFaults() { s.hw.faults.clear(func(Injected) bool { return true }) }

// FreezeSessions stops the API and SSH: connections stay open and new ones are taken, and nothing is
// read or answered. What was received before is carried out. A reboot thaws.
func (s *Sim) FreezeSessions() { s.openGate(false) }

// ThawSessions undoes FreezeSessions: what came in between is carried out, and all is answered.
func (s *Sim) ThawSessions() { s.openGate(true) }

func (s *Sim) openGate(open bool) {
	if b := s.boot(); b != nil {
		b.gate.open(open)
	}
}

// FreezeNVMe stops the exports in the same way. A reboot thaws.
func (s *Sim) FreezeNVMe() {
	if b := s.boot(); b != nil {
		b.exports.target.Freeze()
	}
}

// ThawNVMe undoes FreezeNVMe.
func (s *Sim) ThawNVMe() {
	if b := s.boot(); b != nil {
		b.exports.target.Thaw()
	}
}

// Frozen reports whether the API and SSH are frozen.
func (s *Sim) Frozen() bool {
	b := s.boot()
	return b != nil && !b.gate.isOpen()
}

// Sessions returns how many connections of the API and SSH there are.
func (s *Sim) Sessions() int {
	if b := s.boot(); b != nil {
		return b.sessions.count()
	}
	return 0
}

// DropHosts ends the connections of a host to a subsystem, or of all hosts for an empty name. They
// may connect again.
func (s *Sim) DropHosts(nqn, hostNQN string) {
	if b := s.boot(); b != nil {
		b.exports.target.Drop(nqn, hostNQN)
	}
}

// Fill takes room of the pool, for something that is not the box's, so that so many bytes are free, or
// gives it back for a negative number. It outlives reboots.
func (s *Sim) Fill(ctx context.Context, free int64) error {
	return s.change(ctx, "fill the pool", func(t table, p pool) (table, error) {
		t.filled = 0
		if free >= 0 {
			t.filled = max(0, p.capacity-t.used-free)
		}
		return t, nil
	})
}

// Resize changes the size of a disk behind everybody's back: hosts get no event. The disk is named by
// .id or slot. It may be made smaller only with Switches.Shrink.
func (s *Sim) Resize(ctx context.Context, name string, size int64) error {
	return s.change(ctx, "resize a disk", func(t table, p pool) (table, error) {
		return t.set(name, []Arg{{"file-size", strconv.FormatInt(size, 10)}}, p)
	})
}

// change changes the box as no command does: without a session, and without telling hosts.
func (s *Sim) change(ctx context.Context, what string, f func(table, pool) (table, error)) error {
	b := s.boot()
	if b == nil {
		return ErrClosed
	}
	if err := b.machine.changeQuietly(ctx, f); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
