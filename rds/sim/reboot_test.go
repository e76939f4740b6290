// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// reboot is Reboot that must not fail.
func reboot(t *testing.T, s *Sim) {
	t.Helper()
	if err := s.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestLateDisks shows what is there after a reboot while nothing has come back, and that a change of a
// row that is late counts when it comes.
func TestLateDisks(t *testing.T) {
	for _, hide := range []bool{false, true} {
		t.Run(fmt.Sprintf("hidden %v", hide), func(t *testing.T) {
			s := start(t, Config{NVMeHost: LoopbackHost(), Switches: Switches{PoolDelay: time.Hour, HideLate: hide}})
			api := login(t, s)
			api.exported("vm-1", nqnA, 4420)
			api.exported("vm-2", nqnB, 4421)
			newInitiator("n1").attach(t, s, nqnA, 4420)
			reboot(t, s)
			api = login(t, s)
			if _, err := newInitiator("n2").connect(t, s, nqnA, 4420); err == nil {
				t.Error("a disk that has not come back is served")
			}
			rows, _ := api.must("/disk/print")
			if want := map[bool]int{false: 2, true: 0}[hide]; len(rows) != want {
				t.Errorf("%d rows are listed, want %d", len(rows), want)
			}
			if rows, _ := api.must("/file/print"); len(rows) != 0 {
				t.Errorf("files of a missing pool are listed: %v", rows)
			}
			api.refused("no such item", "/file/remove", "=numbers=raid10/vm-1.img")
			api.refused("failure: no such directory", addWords("vm-3")...)
			api.refused("failure: already have such slot", addWords("vm-1", "=file-path=/raid10/other")...)
			if hide {
				api.refused("no such item", "/disk/set", "=numbers=vm-2", "=nvme-tcp-export=no")
			} else {
				api.must("/disk/set", "=numbers=vm-2", "=nvme-tcp-export=no")
			}
			m := s.boot().machine
			for _, id := range []diskID{0, 2, 3} {
				if err := m.do(t.Context(), func() { m.arrive(id) }); err != nil {
					t.Fatal(err)
				}
			}
			newInitiator("n2").attach(t, s, nqnA, 4420)
			if _, err := newInitiator("n2").connect(t, s, nqnB, 4421); (err == nil) != hide {
				t.Errorf("disk whose export was turned off while it was late: %v", err)
			}
			if rows, _ := api.must("/disk/print"); len(rows) != 3 {
				t.Errorf("%d rows are listed, want 3", len(rows))
			}
			reboot(t, start(t, Config{Switches: Switches{DiskDelay: time.Hour}})) // without disks nothing is late
		})
	}
}

// TestDiskDelay shows when what is late comes: the pool, and then disk after disk.
func TestDiskDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, err := Config{Dir: t.TempDir(), Switches: Switches{PoolDelay: time.Second, DiskDelay: time.Minute}}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		tab := table{next: 4, files: files{}, disks: []disk{{ID: 2, Slot: "a"}, {ID: 3, Slot: "b"}}, poolLate: true, late: map[diskID]struct{}{2: {}, 3: {}}}
		b := &boot{cfg: cfg, ctx: t.Context()}
		ex := &exports{sw: cfg.Switches}
		b.machine = newMachine(pool{}, nil, ex, tab, cfg)
		go b.machine.run(t.Context())
		b.comeBack(tab)
		for _, step := range []struct {
			after time.Duration
			pool  bool
			late  int
		}{{0, true, 2}, {time.Second, false, 2}, {time.Minute, false, 1}, {time.Minute, false, 0}} {
			time.Sleep(step.after)
			synctest.Wait()
			if now := b.machine.table(); now.poolLate != step.pool || len(now.late) != step.late {
				t.Errorf("after %v more: pool late %v, %d disks late", step.after, now.poolLate, len(now.late))
			}
		}
		b.wg.Wait()
	})
}

// TestResync holds the state of the pool.
func TestResync(t *testing.T) {
	for _, tt := range []struct {
		resync        time.Duration
		before, after string
	}{{0, "clean", "clean"}, {time.Hour, "clean", "clean, sync:repair"}, {-1, "clean, sync:repair", "clean, sync:repair"}} {
		s := start(t, Config{Switches: Switches{Resync: tt.resync}})
		for i, want := range []string{tt.before, tt.after} {
			if i > 0 {
				reboot(t, s)
			}
			if got := login(t, s).disk("raid10")["state"]; !strings.HasPrefix(got, want) || want == "clean" && got != want {
				t.Errorf("resync %v: state is %q, want %q", tt.resync, got, want)
			}
		}
	}
}

// TestRenumberIDs shows that an .id may be another disk's after a reboot, and that what follows is
// saved under the new one.
func TestRenumberIDs(t *testing.T) {
	for _, renumber := range []bool{false, true} {
		cfg := Config{Dir: t.TempDir(), Switches: Switches{RenumberIDs: renumber}}
		s := start(t, cfg)
		c := login(t, s)
		c.add("vm-1")
		c.add("vm-2")
		reboot(t, s)
		want := map[bool]string{false: "*2 vm-1 *3 vm-2x", true: "*2 vm-2x *3 vm-1"}[renumber]
		login(t, s).must("/disk/set", "=numbers=vm-2", "=slot=vm-2x")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range start(t, cfg).Disks() {
			got = append(got, d.ID, d.Slot)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("renumber %v: %q, want %q", renumber, got, want)
		}
	}
}

// TestRebootLosingTheLast shows that the time that is lost ends with the call, however long the box takes to
// go down: the last change is within the time since right before it.
func TestRebootLosingTheLast(t *testing.T) {
	s := start(t, Config{NVMeHost: LoopbackHost()})
	c := login(t, s)
	c.exported("old", nqnA, 4420, "=comment=before")
	before := time.Now()
	c.must("/disk/set", "=numbers=old", "=comment=after")
	if err := s.RebootLosing(t.Context(), time.Since(before)); err != nil {
		t.Fatal(err)
	}
	if got := s.Disks(); len(got) != 1 || got[0].Comment != "before" {
		t.Errorf("disks are %v, want the one as it was before", got)
	}
}

// TestRebootLosing shows that a box may forget what it had acknowledged, with the .id it gave, while
// files stay; and that without the fault nothing is lost.
func TestRebootLosing(t *testing.T) {
	s := start(t, Config{NVMeHost: LoopbackHost()})
	c := login(t, s)
	c.add("old", "=comment=before")
	before := s.Disks()
	c.must("/disk/set", "=numbers=old", "=comment=after", "=file-size=2G")
	c.exported("new", nqnA, 4420)
	c.must("/disk/remove", "=numbers=old")
	reboot(t, s)
	if got := s.Disks(); len(got) != 1 || got[0].Slot != "new" {
		t.Errorf("after a reboot that loses nothing: %v", got)
	}
	// The history begins with the power.
	if err := s.RebootLosing(t.Context(), time.Hour); err != nil || len(s.Disks()) != 1 {
		t.Errorf("%v, %v", s.Disks(), err)
	}
	s2 := start(t, Config{NVMeHost: LoopbackHost()})
	c = login(t, s2)
	c.add("old", "=comment=before")
	m := s2.boot().machine
	if err := m.do(t.Context(), func() { m.store.history[0].at = time.Now().Add(-time.Hour) }); err != nil {
		t.Fatal(err)
	}
	c.must("/disk/set", "=numbers=old", "=comment=after")
	c.exported("new", nqnA, 4420)
	c.must("/disk/remove", "=numbers=old")
	if err := s2.RebootLosing(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := s2.Disks(); !slices.Equal(got, before) {
		t.Errorf("disks are %v, want %v", got, before)
	}
	if len(s2.Files()) != 2 {
		t.Errorf("files are %v", s2.Files())
	}
	if id := login(t, s2).add("next"); id != "*3" {
		t.Errorf("the next disk is %s, want the one that was lost again", id)
	}
}

// TestConfigSurvives shows that what was acknowledged is there when the process ends without a word,
// also in the middle of a line, and after the log was begun anew.
func TestConfigSurvives(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	s := start(t, cfg)
	c := login(t, s)
	c.add("vm-1")
	c.add("vm-2")
	c.must("/disk/remove", "=numbers=vm-1")
	long := strings.Repeat("x", 100<<10)
	for i := range 30 { // more than a log may hold
		c.must("/disk/set", "=numbers=vm-2", fmt.Sprintf("=comment=%d%s", i, long))
	}
	c.must("/disk/set", "=numbers=vm-2", "=comment=last")
	if info, err := os.Stat(filepath.Join(cfg.Dir, "config.log")); err != nil || info.Size() > 2*minLog {
		t.Errorf("log has %d bytes, %v", info.Size(), err)
	}
	other := t.TempDir() // what another process would find
	for _, name := range []string{"config.json", "config.log"} {
		b, err := os.ReadFile(filepath.Join(cfg.Dir, name))
		if name == "config.log" {
			b = append(b, `{"generation":1,"next":99,"gone":[3`...)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(other, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	want := s.Disks()
	again := start(t, Config{Dir: other})
	if got := again.Disks(); !slices.Equal(got, want) || got[0].Comment != "last" {
		t.Errorf("disks are %.200v, want %.200v", got, want)
	}
	if id := login(t, again).add("vm-3"); id != "*4" {
		t.Errorf("the next disk is %s, want *4", id)
	}
}

// TestBrokenLog shows that a box whose log cannot be written saves the whole instead.
func TestBrokenLog(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	s := start(t, cfg)
	c := login(t, s)
	c.add("vm-1")
	log := brokenLog(t)
	m := s.boot().machine
	if err := m.do(t.Context(), func() {
		_ = m.store.log.Close()
		m.store.log = log
	}); err != nil {
		t.Fatal(err)
	}
	c.refused("failure: configuration cannot be saved", "/disk/set", "=numbers=vm-1", "=comment=1")
	c.must("/disk/set", "=numbers=vm-1", "=comment=2")
	c.must("/disk/set", "=numbers=vm-1", "=comment=3")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := start(t, cfg).Disks(); got[0].Comment != "3" {
		t.Errorf("comment is %q", got[0].Comment)
	}
}
