// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// story carries out lines on an empty table and returns it, with the refusal of the last line.
// Lines before must not be refused.
func story(t *testing.T, p pool, lines ...string) (table, error) {
	t.Helper()
	tab := table{next: 2, files: files{"raid10": {dir: true}}}
	for i, line := range lines {
		next, err := step(tab, line, p)
		if err != nil {
			if i < len(lines)-1 {
				t.Fatalf("%q: %v", line, err)
			}
			var left *leftover
			if errors.As(err, &left) {
				tab = left.table
			}
			return tab, err
		}
		tab = next
	}
	return tab, nil
}

// TestSwitches holds, for each switch of the table, what the box does without and with it.
func TestSwitches(t *testing.T) {
	const a = "add type=file slot=a file-path=/raid10/a file-size=1M"
	again := []string{a, "add type=file slot=a file-path=/raid10/b file-size=1M"}
	reuse := []string{a, "remove a", "add type=file slot=b file-path=/raid10/a file-size=2M"}
	for _, tt := range []struct {
		name    string
		sw      Switches
		lines   []string
		refused string
		want    string // slots, or whatever show tells
		show    func(table) string
	}{
		{"duplicate slot", Switches{}, again, "failure: already have such slot", "a", slots},
		{"duplicate slot set", Switches{}, append(again[:1:1], "add type=file slot=b file-path=/raid10/b file-size=1M", "set b slot=a"), "failure: already have such slot", "a b", slots},
		{"the pool's slot", Switches{}, []string{a, "set a slot=raid10"}, "failure: already have such slot", "a", slots},
		{"duplicate slot accepted", Switches{DuplicateSlot: Accept}, again, "", "a a", slots},
		{"duplicate slot renamed", Switches{DuplicateSlot: Rename}, append(again, again[1][:len(again[1])-14]+"c file-size=1M"), "", "a a-1 a-2", slots},
		{"default slot", Switches{}, []string{"add type=file file-path=/raid10/d/a file-size=1M"}, "", "file-raid10-d-a", slots},
		{"existing file", Switches{}, reuse, "", "2097152 made by *2", madeBy},
		{"existing file blanked", Switches{BlankFile: true}, reuse, "", "2097152 made by *3", madeBy},
		{"existing file refused", Switches{RefuseFile: true}, reuse, "failure: file already exists", "1048576 made by *2", madeBy},
		{"existing file larger", Switches{}, append(reuse[:2:2], "add type=file slot=b file-path=/raid10/a file-size=1K"), "", "1048576 made by *2", madeBy},
		{"shared file", Switches{}, append(reuse[:1:1], reuse[2]), "failure: file is used by another disk", "a", slots},
		{"shared file accepted", Switches{SharedFile: true}, append(reuse[:1:1], reuse[2]), "", "a b", slots},
		{"slot of 33", Switches{SlotLimit: 32}, []string{a, "set a slot=" + strings.Repeat("x", 33)}, "failure: slot name longer than 32", "a", slots},
		{"slot of 32", Switches{SlotLimit: 32}, []string{a, "set a slot=" + strings.Repeat("x", 32)}, "", strings.Repeat("x", 32), slots},
		{"slot of 33 accepted", Switches{SlotLimit: -1}, []string{a, "set a slot=" + strings.Repeat("x", 33)}, "", strings.Repeat("x", 33), slots},
		{"long comment", Switches{}, []string{a, "set a comment=" + strings.Repeat("x", 4000)}, "", strings.Repeat("x", 4000), comments},
		{"comment refused", Switches{CommentLimit: 4}, []string{a, "set a comment=12345"}, "failure: comment longer than 4", "", comments},
		{"comment cut", Switches{CommentLimit: 4, CutComment: true}, []string{a, "set a comment=12345"}, "", "1234", comments},
		{"shrink", Switches{}, []string{a, "set a file-size=1K"}, "failure: disk cannot be made smaller", "1048576 made by *2", madeBy},
		{"shrink accepted", Switches{Shrink: true}, []string{a, "set a file-size=1K"}, "", "1024 made by *2", madeBy},
		{"refused add", Switches{}, again, "failure: already have such slot", "raid10 raid10/a", names},
		{"refused add leaves its file", Switches{LeaveFile: true}, again, "failure: already have such slot", "raid10 raid10/a raid10/b", names},
		{"refused NQN leaves its file", Switches{LeaveFile: true}, []string{a + " nvme-tcp-export=yes nvme-tcp-server-nqn=n", "add type=file slot=b file-path=/raid10/b file-size=1M nvme-tcp-export=yes nvme-tcp-server-nqn=n"}, "failure: nvme-tcp-server-nqn is used by another disk", "raid10 raid10/a raid10/b", names},
		{"export without an NQN", Switches{}, []string{a + " nvme-tcp-export=yes"}, "", "a", slots},
		{"export without an NQN refused", Switches{NeedNQN: true}, []string{a + " nvme-tcp-export=yes"}, "missing =nvme-tcp-server-nqn=", "", slots},
		{"missing directory", Switches{}, []string{"add type=file slot=a file-path=/raid10/d/e/a file-size=1M"}, "", "raid10 raid10/d raid10/d/e raid10/d/e/a", names},
		{"missing directory refused", Switches{NeedDirectory: true}, []string{"add type=file slot=a file-path=/raid10/d/a file-size=1M"}, "failure: no such directory", "raid10", names},
		{"directory made before", Switches{NeedDirectory: true}, []string{"mkdir raid10/d", "add type=file slot=a file-path=/raid10/d/a file-size=1M"}, "", "raid10 raid10/d raid10/d/a", names},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tab, err := story(t, pool{name: "raid10", capacity: 1 << 30, switches: tt.sw}, tt.lines...)
			if tt.refused == "" && err != nil || tt.refused != "" && (err == nil || err.Error() != tt.refused) {
				t.Errorf("the last line: %v, want %q", err, tt.refused)
			}
			if got := tt.show(tab); got != tt.want {
				t.Errorf("table shows %q, want %q", got, tt.want)
			}
		})
	}
}

func slots(t table) string {
	return join(t.disks, func(d disk) string { return d.Slot })
}

func comments(t table) string {
	return join(t.disks, func(d disk) string { return d.Comment })
}

func madeBy(t table) string {
	f := t.files["raid10/a"]
	return number(f.size) + " made by " + f.made.String()
}

func names(t table) string {
	var list []string
	for name := range t.files {
		list = append(list, name)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func join(disks []disk, show func(disk) string) string {
	var list []string
	for _, d := range disks {
		list = append(list, show(d))
	}
	return strings.Join(list, " ")
}

// TestTablesAreValues shows that a new table leaves the one it was made of as it was, and that two
// made of one do not share a row.
func TestTablesAreValues(t *testing.T) {
	p := pool{name: "raid10", capacity: 1 << 30}
	add := func(tab table, slot string) table {
		t.Helper()
		next, err := step(tab, "add type=file file-size=1M slot="+slot+" file-path=/raid10/"+slot, p)
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	base, err := story(t, p)
	if err != nil {
		t.Fatal(err)
	}
	for _, slot := range []string{"a", "b", "c"} { // until there is room behind the rows
		base = add(base, slot)
	}
	one, two := add(base, "one"), add(base, "two")
	three, err := step(base, "set *2,*3 comment=x slot=y", pool{name: "raid10", capacity: 1 << 30, switches: Switches{DuplicateSlot: Accept}})
	if err != nil {
		t.Fatal(err)
	}
	four, err := step(base, "remove *2,*4", p)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ got, want string }{
		{slots(base), "a b c"},
		{slots(one), "a b c one"},
		{slots(two), "a b c two"},
		{slots(three), "y y c"},
		{slots(four), "b"},
		{names(base), "raid10 raid10/a raid10/b raid10/c"},
		{names(four), names(base)},
		{names(one), names(base) + " raid10/one"},
	} {
		if tt.got != tt.want {
			t.Errorf("table has %q, want %q", tt.got, tt.want)
		}
	}
}

// TestDiff holds the order of changes: what goes comes first, so that its name is free for what
// comes.
func TestDiff(t *testing.T) {
	a, b, c := disk{ID: 2, Slot: "a"}, disk{ID: 3, Slot: "b"}, disk{ID: 4, Slot: "c"}
	b2 := b
	b2.Comment = "x"
	for _, tt := range []struct {
		old, next []disk
		want      []change
	}{
		{nil, nil, nil},
		{[]disk{a, b}, []disk{a, b}, nil},
		{nil, []disk{a}, []change{{next: a}}},
		{[]disk{a, b, c}, []disk{b2, c}, []change{{old: a}, {b, b2}}},
		{[]disk{a, c}, []disk{a, b}, []change{{old: c}, {next: b}}},
	} {
		if got := diff(tt.old, tt.next); !slices.Equal(got, tt.want) {
			t.Errorf("diff(%v, %v) = %v, want %v", tt.old, tt.next, got, tt.want)
		}
	}
}

// TestHideExport holds which properties of an export a row shows.
func TestHideExport(t *testing.T) {
	off := disk{ID: 2, Slot: "a", NQN: "nqn.x", Port: 5000}
	on := off
	on.Export = true
	plain := disk{ID: 2, Slot: "a"}
	for _, tt := range []struct {
		d    disk
		sw   Switches
		want string
	}{
		{on, Switches{}, "nvme-tcp-server-port=5000 nvme-tcp-server-nqn=nqn.x nvme-tcp-server-allow-host-name="},
		{on, Switches{HideExport: true}, "nvme-tcp-server-port=5000 nvme-tcp-server-nqn=nqn.x nvme-tcp-server-allow-host-name="},
		{off, Switches{}, "nvme-tcp-server-port=5000 nvme-tcp-server-nqn=nqn.x"},
		{off, Switches{HideExport: true}, ""},
		{plain, Switches{}, ""},
		{disk{ID: 2, Slot: "a", Export: true}, Switches{DefaultNQN: "nqn.x:"}, "nvme-tcp-server-port=4420 nvme-tcp-server-nqn=nqn.x:a nvme-tcp-server-allow-host-name="},
		{disk{ID: 2, Slot: "a", Export: true}, Switches{}, "nvme-tcp-server-port=4420 nvme-tcp-server-nqn=nqn.2026-09.com.mikrotik:rds-sim.a nvme-tcp-server-allow-host-name="},
	} {
		var got []string
		for _, f := range tt.d.fields(tt.sw) {
			if strings.HasPrefix(f.name, "nvme-tcp-server-") {
				got = append(got, f.name+"="+f.value)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%+v shows %q, want %q", tt.d, got, tt.want)
		}
	}
}
