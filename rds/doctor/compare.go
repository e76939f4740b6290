// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"time"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// Compare tells what has changed from one report to a later one of the same box, as over a reboot. Rows are
// known by their file, or by their slot where they have none.
func Compare(before, after *Report) []string {
	var changes []string
	say := func(format string, args ...any) { changes = append(changes, fmt.Sprintf(format, args...)) }
	if before.Address != after.Address {
		say("another address: %s, then %s", before.Address, after.Address)
	}
	if before.RouterOS != after.RouterOS {
		say("RouterOS %s, then %s", before.RouterOS, after.RouterOS)
	}
	switch was, is := routeros.Uptime(before.Uptime), routeros.Uptime(after.Uptime); {
	case is < was:
		say("the box has rebooted: up %s, then %s", before.Uptime, after.Uptime)
	case is < was+after.At.Sub(before.At)-time.Minute:
		say("the box has rebooted: up %s, and %v later %s", before.Uptime, after.At.Sub(before.At), after.Uptime)
	default:
		say("the box has not rebooted: up %s, then %s", before.Uptime, after.Uptime)
	}
	now := make(map[string]Row, len(after.Rows))
	for _, r := range after.Rows {
		now[r.key()] = r
	}
	renumbered, kept := 0, 0
	for _, old := range before.Rows {
		r, ok := now[old.key()]
		if !ok {
			say("%s is missing (switch HideLate: true, if it comes back later)", old.key())
			continue
		}
		delete(now, old.key())
		if kept++; r.ID != old.ID {
			renumbered++
		}
		for _, c := range old.differences(r) {
			say("%s: %s", old.key(), c)
		}
	}
	for _, r := range after.Rows {
		if _, fresh := now[r.key()]; fresh {
			say("%s is new", r.key())
		}
	}
	say("%d of %d rows have another .id (switch RenumberIDs: %v, if the box has rebooted)", renumbered, kept, renumbered > 0)
	return changes
}

// key is what a row is known by.
func (r Row) key() string {
	if r.File != "" {
		return r.Type + " " + r.File
	}
	return r.Type + " " + r.Slot
}

// differences tells in what a row has become another, but for its .id.
func (r Row) differences(now Row) (list []string) {
	for _, p := range []struct{ name, was, is string }{
		{"slot", r.Slot, now.Slot},
		{"size", r.Size, now.Size},
		{"state", r.State, now.State},
		{"mount-point", r.MountPoint, now.MountPoint},
		{"nvme-tcp-export", r.Export, now.Export},
		{"nvme-tcp-server-port", r.Port, now.Port},
		{"nvme-tcp-server-nqn", r.NQN, now.NQN},
		{"nvme-tcp-server-allow-host-name", r.AllowHost, now.AllowHost},
		{"comment", r.Comment, now.Comment},
	} {
		if p.was != p.is {
			list = append(list, fmt.Sprintf("%s was %q, is %q", p.name, p.was, p.is))
		}
	}
	return list
}
