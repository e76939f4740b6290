// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// TestRenewal shows that a session that is renewed gets no more commands, is closed when the last is done,
// and has a successor; and that a young one is kept.
func TestRenewal(t *testing.T) {
	inPool(t, 2, func(t *testing.T, box *script, p *sessionPool) {
		p.width = 2
		held := hold(t, p, ordinary, 2)
		old := held[0]
		if held[1] != old {
			t.Fatal("two places of two sessions")
		}
		p.renew(old)
		p.give(held[1], true)
		if m := hold(t, p, ordinary, 1)[0]; m != old {
			t.Fatal("a young session was renewed")
		}
		time.Sleep(p.cfg.MaxBackoff)
		p.renew(old)
		p.renew(old)
		next := hold(t, p, ordinary, 1)[0]
		if next == old {
			t.Error("a session that is renewed gets another command")
		}
		p.give(old, true)
		synctest.Wait()
		if old.Err() != nil {
			t.Error("a session that is renewed was closed under a command")
		}
		p.give(old, true)
		synctest.Wait()
		if old.Err() == nil || next.Err() != nil {
			t.Errorf("the old session: %v, the new one: %v; want the old one closed", old.Err(), next.Err())
		}
		p.give(next, true)
		if dialled, live := box.count(); dialled != 2 || live != 1 {
			t.Errorf("%d sessions were made and %d live, want 2 and 1", dialled, live)
		}
	})
}

// TestRightsOfASession has a box whose sessions keep the rights of their login: what is mended counts
// without a restart of anything.
func TestRightsOfASession(t *testing.T) {
	for _, tt := range []struct {
		name, wrong string
		ask         func(context.Context, *Box) error
	}{
		{"write", "read,api,ssh", makeOne},
		{"read", "write,api,ssh", list},
	} {
		t.Run(tt.name, func(t *testing.T) {
			overEach(t, as(sim.Config{Policies: tt.wrong, Switches: sim.Switches{RightsAtLogin: true}}), func(t *testing.T, w bench) {
				b := w.box(t, nil)
				err := tt.ask(testContext(t), b)
				if !errors.Is(err, actors.ErrUnavailable) || !strings.Contains(err.Error(), "--rds-user") {
					t.Fatalf("without rights: %v", err)
				}
				if err := w.Change(t.Context(), sim.Change{Policies: new("read,write,api,ssh")}); err != nil {
					t.Fatal(err)
				}
				ctx := testContext(t)
				for err := tt.ask(ctx, b); err != nil; err = tt.ask(ctx, b) {
					if ctx.Err() != nil {
						t.Fatalf("when it is mended: %v", err)
					}
				}
			})
		})
	}
}
