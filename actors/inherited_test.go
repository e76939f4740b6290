// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"reflect"
	"testing"
	"testing/synctest"
	"time"
)

// What a row shows of its latest migration, and what it does not.
func TestWhatARowShowsOfItsMigration(t *testing.T) {
	const began = Token(1_900_000_000_000)
	now := began.Time().Add(2 * time.Minute)
	source, target := Grant{"node-a", began - 5000}, Grant{"node-b", began}
	ended := func(kind AnnouncementKind, from, to NodeID) Announcement {
		return Announcement{Kind: kind, Volume: testVolume, At: now, Grant: began, Source: from, Target: to, Duration: 2 * time.Minute}
	}
	started := Announcement{
		Kind: MigrationStarted, Volume: testVolume, At: began.Time(), Grant: began,
		Source: "node-a", Target: "node-b", Timeout: 5 * time.Minute,
	}
	for _, c := range []struct {
		name   string
		told   string
		left   NodeID
		grants []Grant
		want   Announcement
	}{
		{"nothing", "", "", nil, Announcement{}},
		{"one node", "", "", []Grant{source}, Announcement{}},
		{"under way", "", "", []Grant{source, target}, started},
		{"an earlier one was told", entry(MigrationFailed, began-9000), "", []Grant{source, target}, started},
		{"pending, the source left", entry(0, began), "node-a", []Grant{target}, started},
		{"pending, the target left", entry(0, began), "node-b", []Grant{source}, started},
		{"succeeded", entry(MigrationCompleted, began), "", []Grant{target}, ended(MigrationCompleted, "", "node-b")},
		{"failed", entry(MigrationFailed, began), "", []Grant{source}, ended(MigrationFailed, "node-a", "")},
		{"failed, both left", entry(MigrationFailed, began), "", nil, ended(MigrationFailed, "", "")},
		{"took too long", entry(MigrationTimedOut, began), "", []Grant{source, target}, ended(MigrationTimedOut, "node-a", "node-b")},
		{"took too long, the source left", entry(MigrationTimedOut, began), "", []Grant{target}, ended(MigrationTimedOut, "", "node-b")},
	} {
		v := created(FencingEpoch)
		v.Ledger.Timeout = 300
		v.Ledger.Told, v.Ledger.Left, v.Ledger.Grants = c.told, c.left, c.grants
		if len(c.grants) > 0 {
			v.Ledger.Access = AccessShared
		}
		got, ok := v.inherited(now)
		if got.At = got.At.UTC(); !ok {
			got.At = time.Time{}
		}
		if c.want.At = c.want.At.UTC(); c.want.Kind == 0 {
			c.want.At = time.Time{}
		}
		if ok != (c.want.Kind != 0) || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", c.name, got, ok, c.want)
		}
	}
}

// A process hands over what it found, once, and not what it has done itself.
func TestAProcessInheritsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, created(FencingEpoch), foreign(otherVolume))
		for _, node := range []NodeID{"node-a", "node-b"} {
			if _, err := h.publish(node, AccessShared); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		if err := h.Unpublish(context.Background(), testVolume, "node-a"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(h.inherited) != 1 || len(h.inherited[0]) != 0 {
			t.Fatalf("the first process inherited %+v", h.inherited)
		}
		h.stop()
		at := h.box.row(testVolume).Ledger.Grants[0].At

		h.box.set(func(b *fakeBox) { b.away = ErrUnavailable })
		h.inherited = nil
		h.open()
		defer h.stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		if h.inherited != nil {
			t.Fatalf("without the box: %+v", h.inherited)
		}
		h.box.set(func(b *fakeBox) { b.away = nil })
		time.Sleep(time.Minute)
		h.Reconcile()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(h.inherited) != 1 || len(h.inherited[0]) != 1 {
			t.Fatalf("inherited %+v, want one thing once", h.inherited)
		}
		a := h.inherited[0][0]
		if a.Kind != MigrationCompleted || a.Target != "node-b" || a.Grant != at || a.Duration < 2*time.Minute || a.At.Sub(at.Time()).Round(time.Second) != a.Duration.Round(time.Second) {
			t.Errorf("inherited %+v", a)
		}
		h.wantTold(Attached, Attached, MigrationStarted, Detached, MigrationCompleted) // by the first process
	})
}

// foreign returns another cluster's volume, whose migration has succeeded.
func foreign(id VolumeID) Volume {
	v := grantedVolume(id, "node-x")
	v.Ledger.Cluster = "ffffffffffff"
	v.Ledger.Access, v.Ledger.Told = AccessShared, entry(MigrationCompleted, v.Ledger.Grants[0].At)
	return v
}
