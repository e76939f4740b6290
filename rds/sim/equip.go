// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"maps"
	"slices"
	"strings"

	"github.com/rds-csi/rds-csi/rds/sim/script"
)

// packageTypes are the types of disks that the package rose-storage brings, and packageParams the
// parameters.
var (
	packageTypes  = []string{"file", "raid", "nvme-tcp", "iscsi", "nfs", "ramdisk", "crypted", "sshfs"}
	packageParams = []string{
		"file-path", "file-size", "file-offset", "nvme-tcp-export", "nvme-tcp-server-port", "nvme-tcp-server-nqn",
		"nvme-tcp-server-allow-host-name", "nvme-tcp-server-password", "iscsi-export", "nfs-sharing", "compress",
	}
)

// equipped returns the table of a box with settings. What is gone takes all disks along; when it is back, so are all but
// those that are missing by themselves.
func (t table) equipped(st state, sw Switches) table {
	t.lacking = st.storage != Installed
	t.poolGone = st.poolMissing || t.lacking && !sw.PlainPool
	gone := t.poolGone || t.lacking
	held, late := map[diskID]struct{}{}, maps.Clone(t.late)
	if late == nil || t.gone && !gone {
		late = map[diskID]struct{}{}
	}
	t.poolLate = t.poolLate && (gone || !t.gone)
	missing := strings.Split(st.missingDisks, ",")
	for _, d := range t.disks {
		if gone || slices.Contains(missing, d.Slot) {
			held[d.ID], late[d.ID] = struct{}{}, struct{}{}
		} else if _, before := t.held[d.ID]; before {
			delete(late, d.ID)
		}
	}
	t.held, t.late = held, late
	t.gone = gone
	return t
}

// noPool reports whether the pool is not there, for good or for now.
func (t table) noPool() bool { return t.poolLate || t.poolGone }

// equip makes the table that of a box with settings, and ends or begins exports accordingly. It is called
// from the loop.
func (m *machine) equip(st state) {
	old := m.table()
	next := old.equipped(st, m.pool.switches)
	var changes []change
	for _, d := range next.disks {
		_, before := old.late[d.ID]
		_, after := next.late[d.ID]
		c := change{old: d, next: d}
		var err error
		switch {
		case after && !before:
			err = m.exports.change(d, disk{})
		case before && !after:
			err = m.exports.change(disk{}, d)
		}
		if err != nil {
			m.log.Warn("export cannot be changed", "slot", d.Slot, "error", err)
		}
		if next.hidden(d, m.pool.switches) {
			c.next = disk{}
		}
		if before != after || next.hidden(d, m.pool.switches) != old.hidden(d, m.pool.switches) {
			changes = append(changes, c)
		}
	}
	m.view.Store(&next)
	m.watchers.tell(changes)
}

// knows refuses the arguments of a command of /disk that only the package knows.
func (t table) knows(args []Arg) error {
	if !t.lacking {
		return nil
	}
	for _, a := range args {
		switch {
		case slices.Contains(packageParams, a.Name):
			return &trap{uncategorized, errParameter.message + " " + a.Name}
		case a.Name == "type" && slices.Contains(packageTypes, a.Value):
			return mismatch("type")
		}
	}
	return nil
}

// handler returns what carries out a command of the API, or how the box refuses one that it does not know.
func (b *boot) handler(name string) (handler, error) {
	if b.lacksDisks() && strings.HasPrefix(name, "/disk/") {
		return handler{}, errNoMenu
	}
	h, ok := b.handlers[name]
	if !ok {
		return handler{}, errNoCommand
	}
	return h, nil
}

// lacksDisks reports whether the box has no menu /disk.
func (b *boot) lacksDisks() bool {
	return b.cfg.Switches.NoDiskMenu && b.machine.table().lacking
}

// form is what a command of the console takes.
func (b *boot) form(path string, v verb) script.Command {
	form := v.form
	if path == "/disk" && b.machine.table().lacking {
		form.Params = slices.DeleteFunc(slices.Clone(form.Params), func(name string) bool {
			return slices.Contains(packageParams, name)
		})
	}
	return form
}
