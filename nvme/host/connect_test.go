// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// The order of commands is the kernel's.
func TestConnectSequence(t *testing.T) {
	change := func(_ *fake, cfg *Config) { cfg.Queues, cfg.QueueDepth = 2, 16 }
	connected(t, change, func(t *testing.T, f *fake, c *Controller) {
		synctest.Wait()
		var got []string
		f.set(func() {
			for _, cmd := range f.seen {
				s := fmt.Sprintf("%#02x", cmd.Opcode)
				switch cmd.Opcode {
				case tcp.OpFabrics:
					s = fmt.Sprintf("fabrics %d", cmd.FabricsType())
					if cmd.FabricsType() == tcp.FabricsConnect {
						s = fmt.Sprintf("connect %d", cmd.Connect().QID)
					}
				case tcp.OpIdentify:
					s = fmt.Sprintf("identify %d", cmd.CDW10)
				case tcp.OpSetFeatures:
					s = fmt.Sprintf("feature %#x=%#x", cmd.CDW10, cmd.CDW11)
				case tcp.OpAsyncEventReq:
					s = "event"
				}
				if cmd.Flags != tcp.FlagSGL {
					t.Errorf("%s with flags %#x", s, cmd.Flags)
				}
				got = append(got, s)
			}
		})
		want := []string{
			"connect 0", "fabrics 4", "fabrics 0", "fabrics 4", "identify 1", "feature 0x7=0x10001",
			"connect 1", "connect 2", "feature 0xb=0x100", "identify 2", "identify 0", "identify 3", "event",
		}
		if !slices.Equal(got, want) {
			t.Errorf("commands %q, want %q", got, want)
		}
		// A queue of n entries holds n-1 commands, and the field is zero-based.
		if want := []uint16{31, 16, 16}; !slices.Equal(f.sqsize, want) {
			t.Errorf("SQSIZE %d, want %d", f.sqsize, want)
		}
		if f.hostID != uuid.MustParse("00000000-0000-4000-8000-000000000001") {
			t.Errorf("host ID %v", f.hostID)
		}
		if f.cc != tcp.CCEntrySizes|tcp.CCEnable {
			t.Errorf("CC %#x", f.cc)
		}
		if id := c.Identify(); id.Model != "Fake" || id.CNTLID != 1 {
			t.Errorf("identity %+v", id)
		}
	})
}

func TestCloseShutsDown(t *testing.T) {
	connected(t, nil, func(t *testing.T, f *fake, c *Controller) {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if f.cc&tcp.CCShutdownMask != tcp.CCShutdownNormal {
			t.Errorf("CC %#x, want a normal shutdown", f.cc)
		}
		if !errors.Is(c.Err(), ErrClosed) || c.State() != StateDeleted {
			t.Errorf("err %v, state %v", c.Err(), c.State())
		}
		for name, err := range map[string]error{
			"read": second(c.ReadAt(make([]byte, 512), 0)), "write": second(c.WriteAt(make([]byte, 512), 0)),
			"flush": c.Flush(t.Context()), "rescan": c.Rescan(t.Context()),
		} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("%s after Close: %v", name, err)
			}
		}
	})
}

// Commands that the target is working on have their answer before Close shuts the controller down.
func TestCloseLetsCommandsEnd(t *testing.T) {
	change := func(f *fake, _ *Config) {
		f.intercept = first(false, tcp.OpFlush, func(c *fakeConn, cmd tcp.Command) {
			c.later(func() {
				time.Sleep(time.Second)
				if f.cc&tcp.CCShutdownMask == 0 {
					c.answer(cmd, 0, 0)
				}
			})
		})
	}
	connected(t, change, func(t *testing.T, _ *fake, c *Controller) {
		result := make(chan error, 1)
		go func() { result <- c.Flush(t.Context()) }()
		synctest.Wait()
		_ = c.Close()
		if err := <-result; err != nil {
			t.Errorf("flush: %v", err)
		}
	})
}

func TestConnectFails(t *testing.T) {
	var status *StatusError
	tests := map[string]struct {
		change func(*fake, *Config)
		is     error
		status bool
	}{
		"closed port":         {func(f *fake, _ *Config) { f.refused = true }, syscall.ECONNREFUSED, false},
		"unknown subsystem":   {func(f *fake, _ *Config) { f.connect = tcp.StatusConnectInvalid | tcp.DNR }, nil, true},
		"no data digest":      {func(f *fake, c *Config) { f.offer, c.DataDigest = tcp.HeaderDigest, true }, ErrProtocol, false},
		"pdu format":          {func(f *fake, _ *Config) { f.resp.PFV = 1 }, ErrProtocol, false},
		"maxh2cdata too low":  {func(f *fake, _ *Config) { f.resp.MaxH2CData = 2048 }, ErrProtocol, false},
		"cntlid differs":      {func(f *fake, _ *Config) { f.identity.CNTLID = 77 }, ErrProtocol, false},
		"no keep alive":       {func(f *fake, _ *Config) { f.identity.KAS = 0 }, ErrProtocol, false},
		"no sgl":              {func(f *fake, _ *Config) { f.identity.SGLS = 0 }, ErrProtocol, false},
		"no commands":         {func(f *fake, _ *Config) { f.identity.MaxCommands = 0 }, ErrProtocol, false},
		"small capsules":      {func(f *fake, _ *Config) { f.identity.IOCCSZ = 3 }, ErrProtocol, false},
		"small responses":     {func(f *fake, _ *Config) { f.identity.IORCSZ = 0 }, ErrProtocol, false},
		"capsule offset":      {func(f *fake, _ *Config) { f.identity.ICDOFF = 1 }, ErrProtocol, false},
		"discovery":           {func(f *fake, _ *Config) { f.identity.Type = tcp.ControllerDiscovery }, ErrProtocol, false},
		"no queue entries":    {func(f *fake, _ *Config) { f.caps.MaxQueueEntries = 0 }, ErrProtocol, false},
		"huge blocks":         {func(f *fake, _ *Config) { f.ns.BlockShift = 16 }, ErrProtocol, false},
		"another command set": {func(f *fake, _ *Config) { f.ids.HasCSI, f.ids.CommandSet = true, 2 }, ErrProtocol, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				defer f.close()
				var seen states
				cfg := f.config()
				cfg.OnState = seen.record
				tt.change(f, &cfg)
				_, err := Connect(t.Context(), cfg)
				if err == nil || (tt.is != nil && !errors.Is(err, tt.is)) || tt.status != errors.As(err, &status) {
					t.Errorf("err = %v", err)
				}
				if want := (states{"connecting", "deleting", "deleted"}); !slices.Equal(seen, want) {
					t.Errorf("states %v, want %v", seen, want)
				}
				synctest.Wait()
				if len(f.conns) != 0 {
					t.Errorf("%d connections left open", len(f.conns))
				}
			})
		})
	}
}

// Connecting to a frozen target ends with the context, or with the timeout.
func TestConnectToFrozenTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		defer f.close()
		f.freeze()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		if _, err := Connect(ctx, f.config()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v", err)
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("took %v, want the context's 1s", took)
		}
		begun = time.Now()
		if _, err := Connect(t.Context(), f.config()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v", err)
		}
		if took := time.Since(begun); took != DefaultAdminTimeout {
			t.Errorf("took %v, want AdminTimeout", took)
		}
	})
}

// A command that is not answered while connecting ends the attempt after AdminTimeout.
func TestConnectCommandUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		defer f.close()
		f.intercept = first(true, tcp.OpIdentify, ignore)
		cfg := f.config()
		cfg.AdminTimeout = 3 * time.Second
		begun := time.Now()
		if _, err := Connect(t.Context(), cfg); !errors.Is(err, errTimeout) {
			t.Errorf("err = %v", err)
		}
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("took %v, want 3s", took)
		}
	})
}

func TestQueuesAreLimitedByTheTarget(t *testing.T) {
	change := func(f *fake, cfg *Config) {
		cfg.Queues, cfg.QueueDepth = 4, 1000
		f.queues, f.identity.MaxCommands = 2, 40
	}
	connected(t, change, func(t *testing.T, f *fake, _ *Controller) {
		if want := []uint16{31, 40, 40}; !slices.Equal(f.sqsize, want) {
			t.Errorf("SQSIZE %d, want %d", f.sqsize, want)
		}
	})
}

// A controller that takes its time to become ready is waited for, as long as CAP.TO allows.
func TestReadyTakesTime(t *testing.T) {
	tests := map[string]struct {
		csts  uint64
		after time.Duration // until it is ready
		is    error
	}{
		"soon":  {0, time.Second, nil},
		"never": {0, time.Hour, context.DeadlineExceeded},
		"fatal": {tcp.CSTSFatal, time.Hour, ErrProtocol},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				defer f.close()
				begun := time.Now()
				f.intercept = func(c *fakeConn, cmd tcp.Command) bool {
					p, _ := cmd.Property()
					if cmd.Opcode != tcp.OpFabrics || cmd.FabricsType() != tcp.FabricsPropertyGet ||
						p.Offset != tcp.PropCSTS || time.Since(begun) >= tt.after {
						return false
					}
					c.answer(cmd, 0, tt.csts)
					return true
				}
				c, err := Connect(t.Context(), f.config())
				if !errors.Is(err, tt.is) {
					t.Errorf("err = %v, want %v", err, tt.is)
				}
				if err == nil {
					_ = c.Close()
				}
			})
		})
	}
}
