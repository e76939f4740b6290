// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// A table is the configuration of the box and what its pool holds. It is a value: every change
// makes another table and shares with the old one what is the same.
type table struct {
	next  diskID // of the next row
	disks []disk // by ascending ID
	files files
	used  int64 // of the pool, in bytes

	filled   int64               // bytes of the pool that something else has taken
	late     map[diskID]struct{} // rows that have not come back after a reboot; copied before it is changed
	poolLate bool                // the pool has not come back

	lacking  bool // the package rose-storage is not in force
	poolGone bool // the pool is not there until the settings change
	gone     bool // nor are the disks, which are all held

	held map[diskID]struct{} // rows that are late until the settings change; never changed
}

// A pool is what the model must know of its configuration.
type pool struct {
	name       string
	filesystem string
	capacity   int64
	switches   Switches
}

// find returns the index of the row that ref names by .id or slot, or -1, which it is for a row that
// is hidden, too.
func (t table) find(ref string, p pool) int {
	i := t.index(ref)
	if i >= 0 && t.hidden(t.disks[i], p.switches) {
		return -1
	}
	return i
}

// hidden reports whether a row is not listed, as it has not come back.
func (t table) hidden(d disk, sw Switches) bool {
	_, late := t.late[d.ID]
	return late && (sw.HideLate || t.lacking)
}

// index is find for every row.
func (t table) index(ref string) int {
	if hex, ok := strings.CutPrefix(ref, "*"); ok {
		id, err := strconv.ParseUint(hex, 16, 64)
		if err != nil {
			return -1
		}
		return t.row(diskID(id))
	}
	return slices.IndexFunc(t.disks, func(d disk) bool { return d.Slot == ref })
}

// row returns the index of a row, or -1.
func (t table) row(id diskID) int {
	i, ok := slices.BinarySearchFunc(t.disks, id, func(d disk, id diskID) int {
		return int(min(max(int64(d.ID)-int64(id), -1), 1))
	})
	if !ok {
		return -1
	}
	return i
}

// rows returns the indices of the rows that a list of .id or slots names, with commas in between.
func (t table) rows(list string, p pool) ([]int, error) {
	var rows []int
	for _, ref := range strings.Split(list, ",") {
		i := t.find(ref, p)
		if i < 0 && (ref == poolID.String() || ref == p.name) {
			return nil, failure("the RAID of the simulated box cannot be changed")
		}
		if i < 0 {
			return nil, errNoItem
		}
		rows = append(rows, i)
	}
	return rows, nil
}

// free is the room that is left in the pool.
func (t table) free(p pool) int64 { return max(0, p.capacity-t.used-t.filled) }

// add carries out /disk/add and returns the new table and the new row's ID.
func (t table) add(args []Arg, p pool) (table, diskID, error) {
	d := disk{ID: t.next, MountFilesystem: true, Size: -1}
	var kind, filePath string
	for _, a := range args {
		switch a.Name {
		case "type":
			kind = a.Value
		case "file-path":
			filePath = a.Value
		default:
			if err := d.assign(a.Name, a.Value, p.switches); err != nil {
				return t, 0, err
			}
		}
	}
	switch kind {
	case "file":
	case "":
		return t, 0, missing("type")
	case "raid", "nvme-tcp", "iscsi", "nfs", "smb", "partition", "tmpfs", "ramdisk", "crypted", "sshfs", "hardware":
		return t, 0, failure("disks of this type are not in the simulated box")
	default:
		return t, 0, mismatch("type")
	}
	if filePath == "" {
		return t, 0, missing("file-path")
	}
	name, ok := cleanFile(filePath, p.name)
	if !ok {
		return t, 0, failure("no such directory")
	}
	d.File = name
	next, err := t.admit(&d, p)
	if err != nil {
		return t, 0, err
	}
	next.disks = append(slices.Clip(t.disks), d)
	next.next++
	return next, d.ID, nil
}

// admit settles the slot of a new row and makes its file.
func (t table) admit(d *disk, p pool) (table, error) {
	refused := t.nameSlot(d, p)
	if refused != nil && !p.switches.LeaveFile {
		return t, refused
	}
	next, err := t.place(d, p)
	if err != nil {
		return t, errors.Join(refused, err)
	}
	if refused == nil {
		refused = next.checkExport(*d, p.switches)
	}
	switch {
	case refused == nil:
		return next, nil
	case p.switches.LeaveFile:
		return t, &leftover{refused, next}
	}
	return t, refused
}

// A leftover is the refusal of a command that changed something all the same.
type leftover struct {
	refusal error
	table   table
}

func (l *leftover) Error() string { return l.refusal.Error() }

func (l *leftover) Unwrap() error { return l.refusal }

// taken reports whether a row, which may be the pool's, has a slot.
func (t table) taken(slot string, p pool) bool { return slot == p.name || t.index(slot) >= 0 }

// nameSlot settles the slot of a new row.
func (t table) nameSlot(d *disk, p pool) error {
	sw := p.switches
	taken := func(slot string) bool { return t.taken(slot, p) }
	switch {
	case d.Slot == "":
		d.Slot = uniqueSlot(defaultSlot(d.File), taken)
	case taken(d.Slot) && sw.DuplicateSlot == Refuse:
		return failure("already have such slot")
	case sw.DuplicateSlot == Rename:
		d.Slot = uniqueSlot(d.Slot, taken)
	}
	return nil
}

// place finds room for a new row's file, whose size it settles, and returns a table in which the
// file is there.
func (t table) place(d *disk, p pool) (table, error) {
	sw := p.switches
	if !sw.SharedFile && slices.ContainsFunc(t.disks, func(o disk) bool { return o.File == d.File }) {
		return t, failure("file is used by another disk")
	}
	old, exists := t.files[d.File]
	switch {
	case exists && (old.dir || sw.RefuseFile):
		return t, failure("file already exists")
	case !exists && d.Size < 0:
		return t, missing("file-size")
	case d.Size < 0:
		d.Size = old.size
	}
	if d.bytes() == 0 {
		return t, invalid("file-size")
	}
	next := t
	var ok bool
	if next.files, ok = t.files.withParents(d.File, sw.NeedDirectory); !ok || t.noPool() {
		return t, failure("no such directory")
	}
	made := file{size: max(d.Size, old.size), made: old.made}
	if !exists || sw.BlankFile {
		made = file{size: d.Size, made: d.ID}
	}
	return next.resized(d.File, old.size, made, p)
}

// resized returns a table in which the file is f and counts, if there is room for it.
func (t table) resized(name string, before int64, f file, p pool) (table, error) {
	if grow := f.size - before; grow > t.free(p) {
		return t, errNoSpace
	}
	t.used += f.size - before
	t.files = t.files.with(name, f)
	return t, nil
}

// checkExport refuses an export that another row excludes.
func (t table) checkExport(d disk, sw Switches) error {
	if !d.exported() {
		return nil
	}
	if d.NQN == "" && sw.NeedNQN {
		return missing("nvme-tcp-server-nqn")
	}
	for _, other := range t.disks {
		if other.ID != d.ID && other.exported() && other.nqn(sw) == d.nqn(sw) {
			return failure("nvme-tcp-server-nqn is used by another disk")
		}
	}
	return nil
}

// set carries out /disk/set: all rows that refs names, or none.
func (t table) set(refs string, args []Arg, p pool) (table, error) {
	rows, err := t.rows(refs, p)
	if err != nil {
		return t, err
	}
	next := t
	next.disks = slices.Clone(t.disks)
	for _, i := range rows {
		if err := next.change(i, args, p); err != nil {
			return t, err
		}
	}
	return next, nil
}

// change carries out a set of one row, in place.
func (t *table) change(i int, args []Arg, p pool) error {
	d := t.disks[i]
	for _, a := range args {
		if err := d.assign(a.Name, a.Value, p.switches); err != nil {
			return err
		}
	}
	if d.Slot != t.disks[i].Slot && p.switches.DuplicateSlot == Refuse && t.taken(d.Slot, p) {
		return failure("already have such slot")
	}
	if err := t.checkExport(d, p.switches); err != nil {
		return err
	}
	if err := t.resize(t.disks[i], d, p); err != nil {
		return err
	}
	t.disks[i] = d
	return nil
}

// resize makes the file of a row as large as its new file-size asks for.
func (t *table) resize(old, d disk, p pool) error {
	if d.Size == old.Size && d.Offset == old.Offset {
		return nil
	}
	if d.bytes() == 0 {
		return invalid("file-size")
	}
	if d.bytes() < old.bytes() && !p.switches.Shrink {
		return failure("disk cannot be made smaller")
	}
	f, ok := t.files[d.File]
	if !ok || t.noPool() {
		return failure("file is missing")
	}
	size := max(d.Size, f.size)
	if d.Size < old.Size {
		size = d.Size
	}
	next, err := t.resized(d.File, f.size, file{size: size, made: f.made}, p)
	if err != nil {
		return err
	}
	t.files, t.used = next.files, next.used
	return nil
}

// remove carries out /disk/remove. The files stay.
func (t table) remove(refs string, p pool) (table, error) {
	rows, err := t.rows(refs, p)
	if err != nil {
		return t, err
	}
	next := t
	next.disks = nil
	for i, d := range t.disks {
		if !slices.Contains(rows, i) {
			next.disks = append(next.disks, d)
		}
	}
	return next, nil
}

// removeFiles carries out /file/remove of a list of names with commas in between. Names have no
// leading slash: one that has is no file. A disk whose file is removed stays in the table, and what
// is exported of it is served until the export ends.
func (t table) removeFiles(list string, p pool) (table, error) {
	next := t
	for _, name := range strings.Split(list, ",") {
		f, ok := next.files[name]
		if !ok || t.noPool() {
			return t, errNoItem
		}
		if name == p.name {
			return t, failure("the root of a mounted disk cannot be removed")
		}
		if next.files, ok = next.files.without(name); !ok {
			return t, failure("directory is not empty")
		}
		next.used -= f.size
	}
	return next, nil
}

// addDirectory carries out /file/add type=directory.
func (t table) addDirectory(name string, p pool) (table, error) {
	if _, ok := cleanFile(name, p.name); !ok || strings.HasPrefix(name, "/") {
		return t, failure("no such directory")
	}
	if _, ok := t.files[name]; ok {
		return t, failure("file already exists")
	}
	next := t
	var ok bool
	if next.files, ok = t.files.withParents(name, true); !ok || t.noPool() {
		return t, failure("no such directory")
	}
	next.files = next.files.with(name, file{dir: true})
	return next, nil
}
