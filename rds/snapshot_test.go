// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/actors"
)

// text is all that a snapshot says.
func (s *snapshot) text() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(s.volumes)) {
		r := *s.volumes[id]
		err := r.err
		r.err = nil
		fmt.Fprintf(&b, "%s: %+v, error: %v\n", id, r, err)
	}
	fmt.Fprintln(&b, s.pools, s.ports)
	return b.String()
}

// listed makes a snapshot of what follows another, and compares it with one that knows of none.
func listed(t *testing.T, rows []attrs, before *snapshot) *snapshot {
	t.Helper()
	s := newSnapshot(time.Time{}, wire(rows...), before)
	if got, want := s.text(), newSnapshot(time.Time{}, wire(rows...), nil).text(); got != want {
		t.Fatalf("a listing after another shows\n%s\nalone it shows\n%s", got, want)
	}
	return s
}

func volumeRow(n int) attrs { return maps.Collect(attached(n, 2)) }

// TestUnchangedRow shows that a row that came before is not parsed again.
func TestUnchangedRow(t *testing.T) {
	before := listed(t, []attrs{volumeRow(0), volumeRow(1)}, nil)
	changed := volumeRow(1)
	changed["size"] = "1"
	after := listed(t, []attrs{changed, volumeRow(0)}, before)
	if after.volumes[volumeID(0)] != before.volumes[volumeID(0)] {
		t.Error("the same row was parsed again")
	}
	if after.volumes[volumeID(1)] == before.volumes[volumeID(1)] {
		t.Error("a row that changed was not parsed again")
	}
}

// TestChangedRow changes each property by itself: the next listing shows it, and so does the one after
// the change was undone.
func TestChangedRow(t *testing.T) {
	for property, value := range map[string]string{
		".id": "*7F", "type": "raid", "slot": "renamed", "disabled": "true",
		"comment": maps.Collect(attached(0, 3))["comment"], "file-path": filePath(testPath, volumeID(9)), "file-size": "512",
		"nvme-tcp-export": "false", "nvme-tcp-server-port": "9000", "nvme-tcp-server-nqn": "nqn.x",
		"nvme-tcp-server-allow-host-name": "nqn.y",
	} {
		for name, change := range map[string]func(attrs){
			"changed":   func(r attrs) { r[property] = value },
			"malformed": func(r attrs) { r[property] = "?" },
			"left out":  func(r attrs) { delete(r, property) },
		} {
			t.Run(property+" "+name, func(t *testing.T) {
				first := []attrs{volumeRow(0), volumeRow(1)}
				before := listed(t, first, nil)
				row := volumeRow(0)
				change(row)
				after := listed(t, []attrs{row, volumeRow(1)}, before)
				if name == "changed" && after.text() == before.text() {
					t.Error("the change does not show")
				}
				if undone := listed(t, first, after); undone.text() != before.text() {
					t.Error("what was undone still shows")
				}
			})
		}
	}
}

// TestRenumberedRows shows that a row is known by its words, not by its .id, which a box may give to
// another row when it starts.
func TestRenumberedRows(t *testing.T) {
	a, b := volumeRow(0), volumeRow(1)
	before := listed(t, []attrs{a, b}, nil)
	x, y := maps.Clone(a), maps.Clone(b)
	x[".id"], y[".id"] = b[".id"], a[".id"]
	after := listed(t, []attrs{x, y}, before)
	if r, ok := after.row(volumeID(0)); !ok || r.id != b[".id"] {
		t.Errorf("row = %+v, %t", r, ok)
	}
	// Rows without one are compared like any other.
	delete(x, ".id")
	delete(y, ".id")
	listed(t, []attrs{x, y}, listed(t, []attrs{y, x}, after))
}

// TestRowsThatGo shows that nothing is kept of a row that is gone, nor of a quarrel between two.
func TestRowsThatGo(t *testing.T) {
	a, b, twin := volumeRow(0), volumeRow(1), volumeRow(0)
	twin[".id"], twin["slot"] = "*7F", "twin"
	s := listed(t, []attrs{a, b}, nil)
	s = listed(t, []attrs{a, b, twin}, s)
	if r, ok := s.row(volumeID(0)); !ok || r.err == nil {
		t.Errorf("of two rows = %+v, %t", r, ok)
	}
	s = listed(t, []attrs{a, twin}, s)
	s = listed(t, []attrs{twin}, s)
	if r, ok := s.row(volumeID(0)); !ok || r.err != nil || r.slot != "twin" {
		t.Errorf("the row that stayed = %+v, %t", r, ok)
	}
	if len(s.files) != 1 {
		t.Errorf("%d rows are kept, want 1", len(s.files))
	}
	if s = listed(t, nil, s); len(s.files) != 0 {
		t.Errorf("%d rows are kept, want none", len(s.files))
	}
}

// TestManyListings changes rows at random, over many listings.
func TestManyListings(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	rows := []attrs{{".id": "*FF", "type": "raid", "slot": "r", "mount-point": "raid10", "state": "clean", "size": "1000", "free": "400"}}
	for n := range 8 {
		rows = append(rows, volumeRow(n))
	}
	var last *snapshot
	for range 500 {
		// Rows are the box's, as they come each time: none is changed in place.
		next := make([]attrs, 0, len(rows))
		for _, i := range rnd.Perm(len(rows)) {
			re := maps.Clone(rows[i])
			if rnd.IntN(4) == 0 {
				other := rows[rnd.IntN(len(rows))]
				for name := range re {
					if rnd.IntN(4) == 0 {
						re[name] = other[name]
					}
				}
			}
			if rnd.IntN(10) > 0 {
				next = append(next, re)
			}
		}
		last = listed(t, next, last)
	}
}

// TestVolumeIsACopy shows that what a caller does to a volume does not change what others read.
func TestVolumeIsACopy(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		l := ledger(func(l *actors.Ledger) {
			l.Access, l.Grants = actors.AccessShared, []actors.Grant{{Node: "a", At: 1}, {Node: "b", At: 2}}
		})
		f.addVolume(func(r attrs) { r["comment"] = l.String() })
		b, ctx := f.box(nil), testContext(t)
		for range 2 {
			v, err := b.Read(ctx, testVolume)
			if err != nil || v.Ledger.String() != l.String() {
				t.Errorf("Read = %+v, %v", v, err)
			}
			v.Ledger.Grants[0].Node = "c"
			vols, err := b.List(ctx)
			if err != nil || len(vols) != 1 || vols[0].Ledger.String() != l.String() {
				t.Errorf("List = %+v, %v", vols, err)
			}
			vols[0].Ledger.Grants[1].Node = "d"
		}
	})
}

// TestListingAfterListing shows that a box's listings follow each other, also past one that failed.
func TestListingAfterListing(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		f.addVolume(nil)
		b, ctx := f.box(nil), testContext(t)
		first, err := b.look(ctx)
		if err != nil {
			t.Fatal(err)
		}
		f.on(func([]string, func() []string) []string { return trap("failure: busy") })
		if _, err := b.look(ctx); err == nil {
			t.Error("a listing that the box refused succeeded")
		}
		f.on(nil)
		second, err := b.look(ctx)
		if err != nil || second.volumes[testVolume] != first.volumes[testVolume] {
			t.Errorf("the same row was parsed again, %v", err)
		}
		f.change(func() { f.disks[1]["comment"] = gen(2).String() })
		if v, err := b.Read(ctx, testVolume); err != nil || v.Ledger.Gen != 2 {
			t.Errorf("Read = %+v, %v, want gen 2", v, err)
		}
	})
}
