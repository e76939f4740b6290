// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// TestOneMayChange: who may not change the box reads it, and sends nothing else.
func TestOneMayChange(t *testing.T) {
	overEach(t, as(sim.Config{}), func(t *testing.T, s bench) {
		var closed atomic.Bool
		leaseLost := errors.New("the lease was lost")
		b, ctx := s.box(t, func(cfg *Config) {
			cfg.MayChange = func() error {
				if closed.Load() {
					return leaseLost
				}
				return nil
			}
		}), testContext(t)
		if _, err := b.Create(ctx, numbered(1)); err != nil {
			t.Fatal(err)
		}
		closed.Store(true)
		before := s.Disks()
		grant := actors.Write{Volume: volumeID(1), Rows: []actors.Row{{Export: true, NQN: numbered(1).NQN + ".abc", Ledger: gen(2)}}}
		_, created := b.Create(ctx, numbered(2))
		_, expanded := b.Expand(ctx, volumeID(1), 2*gib)
		for what, err := range map[string]error{
			"Write": b.Write(ctx, grant), "Create": created, "Expand": expanded, "Delete": b.Delete(ctx, volumeID(1)),
		} {
			if !errors.Is(err, actors.ErrUnavailable) || !errors.Is(err, leaseLost) {
				t.Errorf("%s = %v, want ErrUnavailable and why", what, err)
			}
		}
		if after := s.Disks(); len(after) != len(before) || after[0] != before[0] {
			t.Errorf("disks = %+v, want %+v", after, before)
		}
		if v, err := b.Read(ctx, volumeID(1)); err != nil || !v.Exists {
			t.Errorf("Read = %+v, %v", v, err)
		}
		closed.Store(false)
		if err := b.Write(ctx, grant); err != nil {
			t.Errorf("Write when it may again = %v", err)
		}
	})
}

// TestWhoMayChangeIsAskedLast: a change that waited for a session, while the lease was lost, is not sent.
func TestWhoMayChangeIsAskedLast(t *testing.T) {
	for name, gather := range map[string]bool{"each by itself": false, "gathered": true} {
		t.Run(name, func(t *testing.T) {
			var lost error
			slowly(t, func() error { return lost }, gather, func(t *testing.T, box *slowBox, b *Box) {
				first := start(t.Context(), b, nil, 1)
				second := start(t.Context(), b, nil, 2) // waits
				lost = errors.New("the lease was lost")
				box.goOn <- struct{}{}
				if a := <-first; a.err != nil {
					t.Error(a.err)
				}
				if a := <-second; !errors.Is(a.err, lost) || fateOf(a.err) != unsent {
					t.Errorf("the one that waited = %+v, want that it was not sent", a)
				}
				if got := box.lengths(); got != "[1]" {
					t.Errorf("sent together: %s", got)
				}
			})
		})
	}
}
