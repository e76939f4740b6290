// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// simulate starts a simulated box, whose exports have an address of their own.
func simulate(t *testing.T, cfg sim.Config) *sim.Sim {
	t.Helper()
	cfg.Dir, cfg.Password, cfg.NVMeHost = t.TempDir(), testPassword, sim.LoopbackHost()
	s, err := sim.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func volumeID(n int) actors.VolumeID {
	return actors.VolumeID(fmt.Sprintf("pvc-00000000-0000-4000-8000-%012d", n))
}

func numbered(n int) actors.Spec {
	return spec(func(s *actors.Spec) {
		s.ID, s.NQN = volumeID(n), "nqn.2000-02.com.mikrotik:"+string(volumeID(n))
		s.Ports = actors.Ports{First: 20000, Last: 29999}
	})
}

// TestLife follows a volume from its creation to its end.
func TestLife(t *testing.T) {
	overEach(t, as(sim.Config{}), func(t *testing.T, s bench) {
		w := newTold()
		b, ctx := s.box(t, func(cfg *Config) { cfg.Hooks = w.hooks() }), testContext(t)

		before, err := b.Capacity(ctx, testPath)
		if err != nil || before.Total != 1<<40 || before.Free != 1<<40 {
			t.Fatalf("Capacity = %+v, %v", before, err)
		}
		odd := numbered(1)
		odd.Size = 3*gib + 512
		v, err := b.Create(ctx, odd)
		if err != nil || v.Size != odd.Size || v.Export || !v.Ours || v.Port != odd.Ports.First {
			t.Fatalf("Create = %+v, %v", v, err)
		}
		if disks := s.Disks(); len(disks) != 1 || disks[0].Slot != "00000000000040008000000000000001" {
			t.Errorf("disks = %+v", disks)
		}
		free := func(want int64) {
			t.Helper()
			if c, err := b.Capacity(ctx, testPath); err != nil || c.Free != want {
				t.Errorf("Capacity = %+v, %v, want %d bytes free", c, err, want)
			}
		}
		free(before.Free - odd.Size)

		grant := actors.Write{Volume: odd.ID, Rows: []actors.Row{{Export: true, NQN: odd.NQN + ".abc", Ledger: gen(2)}}}
		if err := b.Write(ctx, grant); err != nil {
			t.Fatal(err)
		}
		v, err = b.Read(ctx, odd.ID)
		if err != nil || !v.Export || v.NQN != odd.NQN+".abc" || v.Ledger.Gen != 2 {
			t.Errorf("Read = %+v, %v", v, err)
		}
		if v, err = b.Expand(ctx, odd.ID, 4*gib); err != nil || v.Size != 4*gib || v.Ledger.Gen != 2 {
			t.Errorf("Expand = %+v, %v", v, err)
		}
		vols, err := b.List(ctx)
		if err != nil || len(vols) != 1 || vols[0].ID != odd.ID {
			t.Errorf("List = %+v, %v", vols, err)
		}
		if err := s.Reboot(ctx); err != nil {
			t.Fatal(err)
		}
		w.until(t, func() bool { return w.connected() >= 4 }) // each session a second time
		if again, err := b.Read(ctx, odd.ID); err != nil || fmt.Sprint(again) != fmt.Sprint(v) {
			t.Errorf("Read after a reboot = %+v, %v, want %+v", again, err, v)
		}
		for range 2 {
			if err := b.Delete(ctx, odd.ID); err != nil {
				t.Error(err)
			}
		}
		if len(s.Disks()) != 0 || len(s.Files()) != 0 {
			t.Errorf("left: %+v, %+v", s.Disks(), s.Files())
		}
		free(before.Free)
		if v, err := b.Read(ctx, odd.ID); err != nil || v.Exists {
			t.Errorf("Read = %+v, %v", v, err)
		}
	})
}

func TestFullPool(t *testing.T) {
	overEach(t, as(sim.Config{Capacity: 10 * gib}), func(t *testing.T, s bench) {
		b, ctx := s.box(t, nil), testContext(t)
		big := numbered(1)
		big.Size = 11 * gib
		if _, err := b.Create(ctx, big); !errors.Is(err, actors.ErrFull) {
			t.Errorf("Create = %v, want ErrFull", err)
		}
		if len(s.Disks()) != 0 || len(s.Files()) != 0 {
			t.Errorf("left: %+v, %+v", s.Disks(), s.Files())
		}
		if _, err := b.Create(ctx, numbered(2)); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Expand(ctx, volumeID(2), 11*gib); !errors.Is(err, actors.ErrOutOfRange) {
			t.Errorf("Expand to more than the pool = %v, want ErrOutOfRange", err)
		}
		if _, err := b.Create(ctx, numbered(3)); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Expand(ctx, volumeID(2), 10*gib); !errors.Is(err, actors.ErrFull) {
			t.Errorf("Expand to what another volume has = %v, want ErrFull", err)
		}
		if err := b.Delete(ctx, volumeID(3)); err != nil {
			t.Fatal(err)
		}
		if v, err := b.Expand(ctx, volumeID(2), 10*gib); err != nil || v.Size != 10*gib {
			t.Errorf("Expand to the last byte = %+v, %v", v, err)
		}
	})
}

// TestConcurrentCreates makes many volumes at a time: each gets a port of its own.
func TestConcurrentCreates(t *testing.T) {
	overEach(t, as(sim.Config{}), func(t *testing.T, s bench) {
		b, ctx := s.box(t, nil), testContext(t)
		const volumes = 40
		var wg sync.WaitGroup
		ports := make([]uint16, volumes)
		for n := range volumes {
			wg.Go(func() {
				v, err := b.Create(ctx, numbered(n))
				if err != nil {
					t.Error(err)
				}
				ports[n] = v.Port
			})
		}
		wg.Wait()
		seen := map[uint16]bool{}
		for n, p := range ports {
			if seen[p] {
				t.Errorf("volume %d shares port %d", n, p)
			}
			seen[p] = true
		}
		for n := range volumes {
			wg.Go(func() {
				if err := b.Delete(ctx, volumeID(n)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(s.Disks()) != 0 || len(s.Files()) != 0 {
			t.Errorf("left: %+v, %+v", s.Disks(), s.Files())
		}
	})
}

// TestLostWrites drops the connection instead of answering, before or after the box did its work, on
// every other set. What is acknowledged must be what the box shows.
func TestLostWrites(t *testing.T) {
	overEach(t, func() sim.Config {
		var n atomic.Int32
		return sim.Config{Fault: func(c sim.Command) sim.Fault {
			if c.Name != "/disk/set" {
				return sim.Fault{}
			}
			switch n.Add(1) % 4 {
			case 1:
				return sim.Fault{DropBefore: true}
			case 3:
				return sim.Fault{DropAfter: true}
			}
			return sim.Fault{}
		}}
	}, lostWrites)
}

func lostWrites(t *testing.T, s bench) {
	b, ctx := s.box(t, nil), testContext(t)
	if _, err := b.Create(ctx, numbered(1)); err != nil {
		t.Fatal(err)
	}
	lost := 0
	for g := range uint64(12) {
		w := actors.Write{Volume: volumeID(1), Revoke: g%3 == 0, Rows: []actors.Row{{NQN: numbered(1).NQN, Ledger: gen(g + 2)}}}
		err := b.Write(ctx, w)
		switch {
		case err == nil:
			if v, err := b.Read(ctx, volumeID(1)); err != nil || v.Ledger.Gen != g+2 {
				t.Errorf("acknowledged gen %d, the box shows %d, %v", g+2, v.Ledger.Gen, err)
			}
		case errors.Is(err, actors.ErrUnresolved):
			lost++
		default:
			t.Errorf("Write = %v, want nil or ErrUnresolved", err)
		}
	}
	// Over SSH an answer may have left before the connection ends after a write.
	if lost > 6 || lost < 3 || lost != 6 && s.SSHAddr() != s.address {
		t.Errorf("%d of 12 writes were lost, want 6", lost)
	}
}

// TestCreateLostAnswer shows that a create whose answer was lost is not made twice.
func TestCreateLostAnswer(t *testing.T) {
	for name, fault := range map[string]sim.Fault{"before": {DropBefore: true}, "after": {DropAfter: true}} {
		t.Run(name, func(t *testing.T) {
			faulty := func() sim.Config {
				var once atomic.Bool
				return sim.Config{Fault: func(c sim.Command) sim.Fault {
					if c.Name == "/disk/add" && !once.Swap(true) {
						return fault
					}
					return sim.Fault{}
				}}
			}
			overEach(t, faulty, func(t *testing.T, s bench) {
				b, ctx := s.box(t, nil), testContext(t)
				if _, err := b.Create(ctx, numbered(1)); err != nil && !errors.Is(err, actors.ErrUnresolved) {
					t.Errorf("Create = %v", err)
				}
				if v, err := b.Create(ctx, numbered(1)); err != nil || v.Size != gib {
					t.Errorf("retry = %+v, %v", v, err)
				}
				if len(s.Disks()) != 1 {
					t.Errorf("disks = %+v", s.Disks())
				}
			})
		})
	}
}

// TestManyReaders asks for a volume a thousand times at once.
func TestManyReaders(t *testing.T) {
	overEach(t, as(sim.Config{}), func(t *testing.T, s bench) {
		b, ctx := s.box(t, nil), testContext(t)
		if _, err := b.Create(ctx, numbered(1)); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				if v, err := b.Read(ctx, volumeID(1)); err != nil || !v.Exists {
					t.Errorf("Read = %+v, %v", v, err)
				}
			})
		}
		wg.Wait()
		if n := s.Commands()["/file/print"]; n != 0 {
			t.Errorf("/file was walked %d times", n)
		}
	})
}

// TestCommentTooLong has a box that cuts off a long comment without a word: the volume must stay usable
// by those whose ledger fits, and nobody is told of a grant that is not there.
func TestCommentTooLong(t *testing.T) {
	const limit = 100
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprintf("cut %t", cut), func(t *testing.T) {
			overEach(t, as(sim.Config{Switches: sim.Switches{CommentLimit: limit, CutComment: cut}}), func(t *testing.T, s bench) {
				b, ctx := s.box(t, nil), testContext(t)
				if _, err := b.Create(ctx, numbered(1)); err != nil {
					t.Fatal(err)
				}
				long := gen(2)
				long.Access = actors.AccessSingle
				long.Grants = []actors.Grant{{Node: actors.NodeID(strings.Repeat("n", 63)), At: actors.TokenAt(time.Unix(1e9, 0))}}
				if n := len(long.String()); n <= limit {
					t.Fatalf("the ledger has %d bytes", n)
				}
				w := actors.Write{Volume: volumeID(1), Rows: []actors.Row{{NQN: numbered(1).NQN, Ledger: long}}}
				err := b.Write(ctx, w)
				if err == nil {
					t.Fatal("a ledger that the box cannot keep was acknowledged")
				}
				oneKind(t, err)
				if v, err := b.Read(ctx, volumeID(1)); err != nil || v.Ledger.String() != made(20000).String() {
					t.Errorf("Read = %+v, %v, want the row as it was", v, err)
				}
				w.Rows[0].Ledger = gen(3)
				if err := b.Write(ctx, w); err != nil {
					t.Errorf("Write of a short ledger = %v", err)
				}
			})
		})
	}
}
