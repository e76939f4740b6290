// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/sim"
)

const otherPrefix = "nqn.2024-01.io.example.storage:rds/box-1"

// prefixed is the nth volume of a StorageClass with a prefix of its own.
func prefixed(n int) actors.Spec {
	s := numbered(n)
	s.NQN, s.Ledger.Prefix = actors.NQN(otherPrefix, s.ID, 0), otherPrefix
	return s
}

// TestHiddenExport has a box that shows nothing of an export that is off. Each step is another process's,
// which knows nothing but what the box shows.
func TestHiddenExport(t *testing.T) {
	for name, spec := range map[string]actors.Spec{"default prefix": numbered(1), "other prefix": prefixed(1)} {
		t.Run(name, func(t *testing.T) {
			overEach(t, as(sim.Config{Switches: sim.Switches{HideExport: true}}), func(t *testing.T, s bench) {
				ctx := testContext(t)
				process := func() *Box { return s.box(t, nil) }
				made, err := process().Create(ctx, spec)
				if err != nil || made.NQN != spec.NQN || made.Port != spec.Ports.First {
					t.Fatalf("Create = %+v, %v", made, err)
				}
				shows := func(what string, v actors.Volume, err error, nqn string) {
					t.Helper()
					if err != nil || v.NQN != nqn || v.Port != spec.Ports.First || v.Export {
						t.Errorf("%s = %+v, %v, want NQN %s and port %d", what, v, err, nqn, spec.Ports.First)
					}
				}
				v, err := process().Read(ctx, spec.ID)
				shows("Read", v, err, spec.NQN)
				v, err = process().Create(ctx, spec)
				shows("Create again", v, err, spec.NQN)

				on, off := v.Ledger, v.Ledger
				on.Gen, on.Epoch = 2, 46655
				off.Gen, off.Epoch = 3, 46655
				nqn := off.NQN(spec.ID)
				if err := process().Write(ctx, actors.Write{Volume: spec.ID, Rows: []actors.Row{{Export: true, NQN: nqn, Ledger: on}}}); err != nil {
					t.Fatal(err)
				}
				if v, err := process().Read(ctx, spec.ID); err != nil || v.NQN != nqn || v.Port != spec.Ports.First || !v.Export {
					t.Errorf("Read of what is exported = %+v, %v", v, err)
				}
				if err := process().Write(ctx, actors.Write{Volume: spec.ID, Revoke: true, Rows: []actors.Row{{NQN: nqn, Ledger: off}}}); err != nil {
					t.Fatal(err)
				}
				vols, err := process().List(ctx)
				if err != nil || len(vols) != 1 {
					t.Fatalf("List = %+v, %v", vols, err)
				}
				shows("List", vols[0], nil, nqn)
				v, err = process().Expand(ctx, spec.ID, 2*gib)
				shows("Expand", v, err, nqn)
				if err := process().Delete(ctx, spec.ID); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestHiddenPorts shows that a port is taken although no row shows it.
func TestHiddenPorts(t *testing.T) {
	overEach(t, as(sim.Config{Switches: sim.Switches{HideExport: true}}), func(t *testing.T, s bench) {
		seen := map[uint16]bool{}
		for n := range 3 {
			v, err := s.box(t, nil).Create(testContext(t), numbered(n))
			if err != nil || v.Port == 0 || seen[v.Port] {
				t.Errorf("Create = %+v, %v; taken are %v", v, err, seen)
			}
			seen[v.Port] = true
		}
		for _, d := range s.Disks() {
			if !seen[d.Port] {
				t.Errorf("disk %s has port %d, told were %v", d.Slot, d.Port, seen)
			}
		}
	})
}

// TestHiddenPutBack has a box that hides exports that are off and cuts off a long comment: what is put
// back includes what was hidden.
func TestHiddenPutBack(t *testing.T) {
	const limit = 140
	overEach(t, as(sim.Config{Switches: sim.Switches{HideExport: true, CommentLimit: limit, CutComment: true}}), func(t *testing.T, s bench) {
		b, ctx, spec := s.box(t, nil), testContext(t), prefixed(1)
		before, err := b.Create(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		disk := s.Disks()[0]
		long := before.Ledger
		long.Gen, long.Prefix = 2, ""
		long.Access = actors.AccessSingle
		long.Grants = []actors.Grant{{Node: actors.NodeID(strings.Repeat("n", 63)), At: 1 << 40}}
		long.Told = "success." + actors.Token(1<<40).String()
		if n := len(long.String()); n <= limit {
			t.Fatalf("the ledger has %d bytes", n)
		}
		if err := b.Write(ctx, actors.Write{Volume: spec.ID, Rows: []actors.Row{{NQN: spec.NQN + ".abc", Ledger: long}}}); err == nil {
			t.Fatal("a ledger that the box cannot keep was acknowledged")
		}
		if now := s.Disks()[0]; now != disk {
			t.Errorf("the disk was put back to %+v, it was %+v", now, disk)
		}
		if v, err := b.Read(ctx, spec.ID); err != nil || fmt.Sprint(v) != fmt.Sprint(before) {
			t.Errorf("Read = %+v, %v, want %+v", v, err, before)
		}
	})
}
