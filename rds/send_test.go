// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rds-csi/rds-csi/actors"
)

// TestRowsNumberedAnew restarts the box between a listing and the write that follows: the row's .id is
// another's now, and must not be used.
func TestRowsNumberedAnew(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		f.addVolume(nil)
		f.addVolume(func(r attrs) { r["file-path"] = "/raid10/volumes/" + string(otherVolume) + ".img" })
		b := f.box(nil)
		var once atomic.Bool
		f.on(on("/disk/print", func(do func() []string) []string {
			answer := do()
			if !once.Swap(true) {
				f.change(func() { f.disks[1][".id"], f.disks[2][".id"] = f.disks[2][".id"], f.disks[1][".id"] })
				for _, m := range b.sessions.all() {
					if m.lane == "common" {
						m.Close() // the listing is on its way, on the other one
					}
				}
			}
			return answer
		}))
		if err := b.Write(testContext(t), write(2)); err != nil {
			t.Fatal(err)
		}
		if got := f.disk(testVolume)["comment"]; got != gen(2).String() {
			t.Errorf("the row shows %q", got)
		}
		if got := f.disk(otherVolume)["comment"]; got != gen(1).String() {
			t.Errorf("another volume's row shows %q", got)
		}
	})
}

// TestStuckSession freezes one of several sessions: what it carried is unresolved at the deadline, the
// session is closed and replaced, and all others go on meanwhile.
func TestStuckSession(t *testing.T) {
	overFakes(t, func(t *testing.T, f *fakeBox) {
		f.addVolume(nil)
		release := make(chan struct{})
		defer close(release)
		var frozen atomic.Bool
		f.on(func(cmd []string, do func() []string) []string {
			if cmd[0] == "/disk/set" && !frozen.Swap(true) {
				<-release
			}
			return do()
		})
		w := newTold()
		b, ctx := f.box(func(cfg *Config) { cfg.InFlight, cfg.Hooks = 1, w.hooks() }), testContext(t)
		stuck := make(chan error, 1)
		begin := time.Now()
		go func() { stuck <- b.Write(ctx, write(2)) }()
		synctest.Wait()
		for n := range uint64(5) {
			if err := b.Write(ctx, write(3+n)); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("writes waited %v for a stuck session", d)
		}
		before := len(b.sessions.all())
		if err := <-stuck; !errors.Is(err, actors.ErrUnresolved) {
			t.Errorf("Write on a stuck session = %v, want ErrUnresolved", err)
		}
		if d := time.Since(begin); d != b.cfg.CommandTimeout {
			t.Errorf("it was given up after %v", d)
		}
		synctest.Wait()
		for _, m := range b.sessions.all() {
			if err := m.Err(); err != nil {
				t.Errorf("an ended session stays in the pool: %v", err)
			}
		}
		if n := len(b.sessions.all()); n >= before {
			t.Errorf("%d sessions after one of %d was given up", n, before)
		}
		if err := b.Write(ctx, write(9)); err != nil {
			t.Error(err)
		}
	})
}
