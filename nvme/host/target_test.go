// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rds-csi/rds-csi/nvme/target"
	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// served runs a test against the real target, through pipes and in synctest's time.
func served(t *testing.T, cfg target.Config, change func(*Config), test func(*testing.T, *box, *Controller)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := pipeBox(t, cfg)
		defer b.stop()
		config := b.config(1)
		if change != nil {
			change(&config)
		}
		c := b.connect(t, config)
		defer func() { _ = c.Close() }()
		test(t, b, c)
	})
}

// Ten thousand operations by four workers, on two queues with digests, while the target drops its
// hosts now and then: what is read is what was written, and so is the disk in the end.
func TestIntegrity(t *testing.T) {
	const workers, each, region = 4, 2500, testDisk / 4
	b := socketBox(t, target.Config{})
	cfg := b.config(1)
	cfg.Queues, cfg.QueueDepth, cfg.HeaderDigest, cfg.DataDigest = 2, 16, true, true
	cfg.ReconnectDelay = 5 * time.Millisecond
	var drops int
	cfg.OnState = func(_, now State) {
		if now == StateResetting {
			drops++
		}
	}
	c := b.connect(t, cfg)
	model := make([]byte, testDisk)
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			random := rand.NewChaCha8([32]byte{byte(w)})
			base := int64(w * region)
			mine := model[base : base+region]
			for i := range each {
				if w == 0 && i%250 == 249 {
					b.Drop(testSubsystem, "")
				}
				if err := operate(c, random, mine, base); err != nil {
					t.Errorf("worker %d, operation %d: %v", w, i, err)
					return
				}
			}
		})
	}
	running.Wait()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(b.disk.b, model) {
		t.Error("the disk is not what was written")
	}
	if drops < each/250 {
		t.Errorf("%d connections lost, want %d", drops, each/250)
	}
}

// operate does one random operation within a region that nobody else uses, and to its model.
func operate(c *Controller, source *rand.ChaCha8, model []byte, base int64) error {
	random := rand.New(source)
	n := 512 * (1 + random.IntN(64))
	if random.IntN(100) == 0 {
		n = 512 * (1 + random.IntN(len(model)/512))
	}
	off := 512 * random.IntN((len(model)-n)/512+1)
	part, at := model[off:off+n], base+int64(off)
	switch op := random.IntN(20); {
	case op < 9:
		_, _ = source.Read(part) // never fails
		return second(c.WriteAt(part, at))
	case op < 17:
		got := make([]byte, n)
		if _, err := c.ReadAt(got, at); err != nil {
			return err
		}
		if !bytes.Equal(got, part) {
			return fmt.Errorf("%d bytes at %d are not what was written", n, at)
		}
		return nil
	case op < 18:
		clear(part)
		return c.WriteZeroes(context.Background(), at, int64(n))
	case op < 19:
		clear(part)
		return c.Deallocate(context.Background(), at, int64(n))
	}
	return c.Flush(context.Background())
}

func TestTwoHostsShareADisk(t *testing.T) {
	ended := make(chan uint16, 2)
	b := socketBox(t, target.Config{OnDisconnect: func(i target.ControllerInfo) { ended <- i.CNTLID }})
	one, two := b.connect(t, b.config(1)), b.connect(t, b.config(2))
	got := make([]byte, 64<<10)
	for i := range byte(10) {
		writer, reader := one, two
		if i%2 == 1 {
			writer, reader = two, one
		}
		want := pattern(len(got), i)
		if _, err := writer.WriteAt(want, 4096); err != nil {
			t.Fatal(err)
		}
		if _, err := reader.ReadAt(got, 4096); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("round %d: the other host does not see the write: %v", i, err)
		}
	}
	if one.UUID() != two.UUID() || one.Identify().CNTLID == two.Identify().CNTLID {
		t.Errorf("UUIDs %v, %v; controllers %d, %d", one.UUID(), two.UUID(), one.Identify().CNTLID, two.Identify().CNTLID)
	}
	_ = one.Close()
	if err := two.Flush(t.Context()); err != nil {
		t.Errorf("the other host after a Close: %v", err)
	}
	_ = two.Close()
	for range 2 {
		<-ended // the target sees both go
	}
}

func TestRefusals(t *testing.T) {
	for _, retry := range []bool{false, true} {
		b := socketBox(t, target.Config{RetryRefusals: retry})
		refusal := func(cfg Config) StatusError {
			_, err := Connect(t.Context(), cfg)
			var status *StatusError
			if !errors.As(err, &status) {
				t.Fatalf("err = %v", err)
			}
			return *status
		}
		cfg := b.config(1)
		if err := b.Allow(testSubsystem, []string{b.config(2).HostNQN}); err != nil {
			t.Fatal(err)
		}
		if got, want := refusal(cfg), (StatusError{"connect queue 0", uint16(tcp.StatusConnectHost), !retry}); got != want {
			t.Errorf("host not allowed: %+v, want %+v", got, want)
		}
		cfg.SubsystemNQN += "x"
		if got, want := refusal(cfg), (StatusError{"connect queue 0", uint16(tcp.StatusConnectInvalid), !retry}); got != want {
			t.Errorf("unknown subsystem: %+v, want %+v", got, want)
		}
	}
}

// A host that is taken off the allow list goes on until it is dropped. What then becomes of it
// depends on its kernel.
func TestFencedHost(t *testing.T) {
	for _, honor := range []bool{true, false} {
		t.Run(fmt.Sprintf("dnr honoured=%v", honor), func(t *testing.T) {
			served(t, target.Config{}, func(cfg *Config) { cfg.HonorDNR = honor }, func(t *testing.T, b *box, c *Controller) {
				if err := b.Allow(testSubsystem, []string{}); err != nil {
					t.Fatal(err)
				}
				if err := second(c.WriteAt(pattern(512, 1), 0)); err != nil {
					t.Fatalf("write of a live controller: %v", err)
				}
				b.Drop(testSubsystem, "")
				result := make(chan error, 1)
				go func() { result <- second(c.WriteAt(pattern(512, 2), 0)) }()
				time.Sleep(time.Minute)
				synctest.Wait()
				if !bytes.Equal(b.disk.b[:512], pattern(512, 1)) {
					t.Error("a fenced host wrote")
				}
				if honor {
					if err := <-result; !errors.Is(err, ErrGone) || c.State() != StateDeleted {
						t.Errorf("state %v, write: %v, want ErrGone", c.State(), err)
					}
					return
				}
				if err := b.Allow(testSubsystem, nil); err != nil {
					t.Fatal(err)
				}
				if err := <-result; err != nil || c.State() != StateLive {
					t.Errorf("state %v, write: %v, want it done", c.State(), err)
				}
			})
		})
	}
}

// A host that was live survives an off-window that ends before its reconnect delay, on any kernel;
// one that was already connecting is lost when its attempt falls into the window.
func TestBounce(t *testing.T) {
	change := func(cfg *Config) { cfg.HonorDNR = true }
	served(t, target.Config{}, change, func(t *testing.T, b *box, c *Controller) {
		bounce := func(window time.Duration) {
			b.port.Unlink(testSubsystem)
			time.Sleep(window)
			b.link(t)
		}
		bounce(300 * time.Millisecond)
		if err := c.Flush(t.Context()); err != nil {
			t.Fatalf("after the first bounce: %v", err)
		}
		bounce(1950 * time.Millisecond)
		if err := c.Flush(t.Context()); err != nil {
			t.Fatalf("after a long bounce: %v", err)
		}
		bounce(300 * time.Millisecond)
		time.Sleep(1550 * time.Millisecond)
		bounce(300 * time.Millisecond)
		if err := c.Flush(t.Context()); !errors.Is(err, ErrGone) {
			t.Fatalf("after a bounce while connecting: %v, want ErrGone", err)
		}
	})
}

// A closed port is survived for any length.
func TestClosedPort(t *testing.T) {
	change := func(cfg *Config) { cfg.HonorDNR = true }
	served(t, target.Config{}, change, func(t *testing.T, b *box, c *Controller) {
		b.pipes.refuse(true)
		b.port.Unlink(testSubsystem)
		time.Sleep(time.Hour)
		b.link(t)
		b.pipes.refuse(false)
		if err := c.Flush(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A target that freezes loses its hosts, and they come back when it thaws.
func TestFreeze(t *testing.T) {
	served(t, target.Config{}, nil, func(t *testing.T, b *box, c *Controller) {
		b.Freeze()
		result := make(chan error, 1)
		go func() { result <- second(c.WriteAt(pattern(1<<20, 9), 0)) }()
		time.Sleep(8 * time.Second)
		synctest.Wait()
		if c.State() != StateConnecting {
			t.Fatalf("state %v, want connecting", c.State())
		}
		b.Thaw()
		if err := <-result; err != nil {
			t.Error(err)
		}
		if !bytes.Equal(b.disk.b[:1<<20], pattern(1<<20, 9)) {
			t.Error("the disk is not what was written")
		}
	})
}

// The target's keep-alive timer runs too: it must be satisfied.
func TestIdleForAnHour(t *testing.T) {
	var seen states
	change := func(cfg *Config) { cfg.OnState = seen.record }
	served(t, target.Config{}, change, func(t *testing.T, _ *box, c *Controller) {
		time.Sleep(time.Hour)
		if err := c.Flush(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if slices.Contains(seen, "resetting") {
		t.Errorf("states %v", seen)
	}
}

func TestResizeOfTheRealTarget(t *testing.T) {
	served(t, target.Config{}, nil, func(t *testing.T, b *box, c *Controller) {
		synctest.Wait()
		b.disk.grow(2 * testDisk)
		b.Resize(testSubsystem)
		synctest.Wait()
		if c.Size() != 2*testDisk {
			t.Fatalf("size %d after the event", c.Size())
		}
		b.disk.grow(3 * testDisk)
		if err := c.Rescan(t.Context()); err != nil || c.Size() != 3*testDisk {
			t.Fatalf("size %d after a rescan, %v", c.Size(), err)
		}
		if err := second(c.WriteAt(pattern(4096, 1), 3*testDisk-4096)); err != nil {
			t.Error(err)
		}
	})
}

func TestDiscoverTheRealTarget(t *testing.T) {
	b := socketBox(t, target.Config{})
	entries, err := Discover(t.Context(), b.addr, testHost)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(entries, func(e tcp.DiscoveryEntry) bool { return e.SubNQN == testSubsystem })
	if i < 0 || entries[i].Address+":"+entries[i].ServiceID != b.addr || entries[i].Subtype != tcp.SubtypeNVM {
		t.Errorf("entries %+v", entries)
	}
	if _, err := Probe(t.Context(), b.addr, time.Minute); err != nil {
		t.Error(err)
	}
}
