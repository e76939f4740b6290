// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"errors"
	"testing"

	"github.com/rds-csi/rds-csi/actors"
)

// TestInventory shows whatever holds a volume, and changes nothing.
func TestInventory(t *testing.T) { overFakes(t, inventory) }

func inventory(t *testing.T, f *fakeBox) {
	f.addVolume(nil)
	for i, comment := range []string{
		"",
		ledger(func(l *actors.Ledger) { l.Cluster = "ffffffffffff" }).String(),
		"rds-csi.1/broken",
	} {
		id := volumeID(i)
		f.addVolume(func(r attrs) {
			r["slot"], r["file-path"], r["comment"] = id.UUID(), "raid10/"+string(id)+".img", comment
		})
	}
	b := f.box(nil)
	entries, missing, err := b.Inventory(testContext(t))
	if err != nil || missing != nil || len(entries) != 4 {
		t.Fatalf("Inventory = %+v, %v, %v", entries, missing, err)
	}
	found := map[actors.VolumeID]Entry{}
	for _, e := range entries {
		found[e.Volume.ID] = e
	}
	if e := found[testVolume]; !e.Volume.Ours || e.Damage != nil || e.Volume.Size != gib {
		t.Errorf("ours: %+v", e)
	}
	if e := found[volumeID(0)]; e.Volume.Ours || e.Damage != nil || e.Slot != volumeID(0).UUID() {
		t.Errorf("the older driver's: %+v", e)
	}
	if e := found[volumeID(1)]; e.Volume.Ledger.Cluster != "ffffffffffff" {
		t.Errorf("another cluster's: %+v", e)
	}
	if e := found[volumeID(2)]; !errors.Is(e.Damage, actors.ErrPrecondition) {
		t.Errorf("damaged: %+v", e)
	}
	f.change(func() { delete(f.disks[0], "mount-point") })
	if _, missing, err = b.Inventory(testContext(t)); err != nil || !errors.Is(missing, actors.ErrUnavailable) {
		t.Errorf("while the pool is missing: %v, %v", missing, err)
	}
	if cmds := f.commands(); len(cmds) != 0 {
		t.Errorf("the box was changed: %q", cmds)
	}
}

// TestWriteTakesOver replaces the one ledger that it names, and no other.
func TestWriteTakesOver(t *testing.T) {
	for _, c := range []struct {
		name    string
		cluster string
		gen     uint64
		want    error
	}{
		{"it is that one", "ffffffffffff", 7, nil},
		{"it was written since", "ffffffffffff", 8, actors.ErrUnavailable},
		{"it is a third one's", "eeeeeeeeeeee", 7, actors.ErrPrecondition},
	} {
		t.Run(c.name, func(t *testing.T) {
			overFakes(t, func(t *testing.T, f *fakeBox) {
				f.addVolume(func(r attrs) {
					r["comment"] = ledger(func(l *actors.Ledger) { l.Cluster, l.Gen = c.cluster, c.gen }).String()
				})
				w := write(8)
				w.From, w.Guard = "ffffffffffff", 7
				err := f.box(nil).Write(testContext(t), w)
				if !errors.Is(err, c.want) {
					t.Fatalf("Write = %v, want %v", err, c.want)
				}
				if took := f.disk(testVolume)["comment"] == w.Rows[0].Ledger.String(); took != (c.want == nil) {
					t.Errorf("the row shows %q", f.disk(testVolume)["comment"])
				}
			})
		})
	}
}
