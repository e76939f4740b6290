// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// connected runs a test against a controller that is connected to a fake through pipes, in
// synctest's time.
func connected(t *testing.T, change func(*fake, *Config), test func(*testing.T, *fake, *Controller)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		defer f.close()
		cfg := f.config()
		if change != nil {
			change(f, &cfg)
		}
		c, err := Connect(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		test(t, f, c)
	})
}

func pattern(n int, seed byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i>>9) ^ byte(i) ^ seed
	}
	return p
}

func TestReadBackWhatWasWritten(t *testing.T) {
	tests := map[string]struct {
		size   int
		off    int64
		change func(*fake, *Config)
	}{
		"in capsule":            {size: 4096, off: 512},
		"one block":             {size: 512, off: testDisk - 512},
		"r2t":                   {size: 8192, off: 8192},
		"r2t in parts":          {size: 64 << 10, off: 0, change: func(f *fake, _ *Config) { f.r2t = 12 << 10 }},
		"many commands":         {size: 1<<20 + 512, off: 512},
		"success in the data":   {size: 64 << 10, off: 0, change: func(f *fake, _ *Config) { f.success = true }},
		"four queues":           {size: 1 << 20, off: 0, change: func(_ *fake, c *Config) { c.Queues = 4 }},
		"a queue of one":        {size: 1 << 20, off: 0, change: func(_ *fake, c *Config) { c.QueueDepth = 1 }},
		"digests":               {size: 300 << 10, off: 0, change: func(_ *fake, c *Config) { c.HeaderDigest, c.DataDigest = true, true }},
		"header digest":         {size: 8192, off: 0, change: func(_ *fake, c *Config) { c.HeaderDigest = true }},
		"no limit of transfers": {size: 2 << 20, off: 0, change: func(f *fake, _ *Config) { f.identity.MDTS = 0 }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			connected(t, tt.change, func(t *testing.T, f *fake, c *Controller) {
				want := pattern(tt.size, 3)
				if n, err := c.WriteAt(want, tt.off); n != tt.size || err != nil {
					t.Fatalf("WriteAt = %d, %v", n, err)
				}
				if !bytes.Equal(f.disk[tt.off:int(tt.off)+tt.size], want) {
					t.Fatal("the disk holds something else")
				}
				got := make([]byte, tt.size)
				if n, err := c.ReadAt(got, tt.off); n != tt.size || err != nil {
					t.Fatalf("ReadAt = %d, %v", n, err)
				}
				if !bytes.Equal(got, want) {
					t.Error("read something else")
				}
			})
		})
	}
}

func TestTransfersAreSplitAtMDTS(t *testing.T) {
	change := func(f *fake, _ *Config) { f.identity.MDTS = 2 }
	connected(t, change, func(t *testing.T, f *fake, c *Controller) {
		if _, err := c.ReadAt(make([]byte, 40<<10), 0); err != nil {
			t.Fatal(err)
		}
		if got := f.count(tcp.OpRead, 1); got != 3 {
			t.Errorf("%d reads, want 3 of at most 16 KiB", got)
		}
	})
}

func TestReadEndsAtTheEnd(t *testing.T) {
	connected(t, nil, func(t *testing.T, _ *fake, c *Controller) {
		for off, want := range map[int64]int{testDisk - 1024: 1024, testDisk: 0, testDisk + 512: 0} {
			if n, err := c.ReadAt(make([]byte, 2048), off); n != want || err != io.EOF {
				t.Errorf("ReadAt(%d) = %d, %v, want %d, EOF", off, n, err, want)
			}
		}
	})
}

func TestRangesAreChecked(t *testing.T) {
	connected(t, nil, func(t *testing.T, f *fake, c *Controller) {
		ctx := t.Context()
		for name, err := range map[string]error{
			"odd offset":          second(c.ReadAt(make([]byte, 512), 1)),
			"odd length":          second(c.WriteAt(make([]byte, 100), 0)),
			"negative":            second(c.ReadAt(make([]byte, 512), -512)),
			"overflow":            c.WriteZeroes(ctx, 512, 1<<63-512),
			"write past the end":  second(c.WriteAt(make([]byte, 1024), testDisk-512)),
			"zeroes past the end": c.WriteZeroes(ctx, testDisk-512, 1024),
			"trim past the end":   c.Deallocate(ctx, testDisk, 512),
		} {
			if !errors.Is(err, ErrRange) {
				t.Errorf("%s: %v, want ErrRange", name, err)
			}
		}
		if n := f.count(tcp.OpWrite, 1); n != 0 {
			t.Errorf("%d writes were sent", n)
		}
	})
}

func second(_ int, err error) error { return err }

func TestZeroesTrimAndFlush(t *testing.T) {
	connected(t, nil, func(t *testing.T, f *fake, c *Controller) {
		if _, err := c.WriteAt(bytes.Repeat([]byte{7}, 4096), 0); err != nil {
			t.Fatal(err)
		}
		if err := c.WriteZeroes(t.Context(), 512, 512); err != nil {
			t.Error(err)
		}
		if err := c.Deallocate(t.Context(), 2048, 1024); err != nil {
			t.Error(err)
		}
		if err := c.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		for off, want := range map[int]byte{0: 7, 512: 0, 1023: 0, 1024: 7, 2048: 0, 3071: 0, 3072: 7} {
			if got := f.disk[off]; got != want {
				t.Errorf("byte %d is %d, want %d", off, got, want)
			}
		}
		if f.count(tcp.OpFlush, 1) != 1 {
			t.Error("no flush was sent")
		}
	})
}

func TestCommandsThatTheControllerLacks(t *testing.T) {
	change := func(f *fake, _ *Config) { f.identity.ONCS = 0 }
	connected(t, change, func(t *testing.T, _ *fake, c *Controller) {
		if err := c.WriteZeroes(t.Context(), 0, 512); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("WriteZeroes: %v", err)
		}
		if err := c.Deallocate(t.Context(), 0, 512); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Deallocate: %v", err)
		}
	})
}

func TestStatusThatMayBeRetriedIs(t *testing.T) {
	tests := map[string]struct {
		status tcp.Status
		times  int // that it is answered
		reads  int // that are sent
		err    bool
	}{
		"passes":       {tcp.StatusNotReady, 3, 4, false},
		"stays":        {tcp.StatusNotReady, 100, 1 + maxRetries, true},
		"do not retry": {tcp.StatusUnrecoveredRead | tcp.DNR, 100, 1, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			left := tt.times
			change := func(f *fake, _ *Config) {
				f.intercept = func(c *fakeConn, cmd tcp.Command) bool {
					if c.qid == 0 || !c.ready || left == 0 {
						return false
					}
					left--
					c.answer(cmd, tt.status, 0)
					return true
				}
			}
			connected(t, change, func(t *testing.T, f *fake, c *Controller) {
				_, err := c.ReadAt(make([]byte, 512), 0)
				var status *StatusError
				if tt.err != errors.As(err, &status) {
					t.Fatalf("err = %v", err)
				}
				if tt.err && (status.Code != uint16(tt.status.Code()) || status.DNR == tt.status.Retry()) {
					t.Errorf("status %+v, want %v", status, tt.status)
				}
				if got := f.count(tcp.OpRead, 1); got != tt.reads {
					t.Errorf("%d reads, want %d", got, tt.reads)
				}
			})
		})
	}
}

// A large write whose third command fails tells what is known to be written.
func TestPartialWriteTellsHowMuch(t *testing.T) {
	change := func(f *fake, _ *Config) {
		f.identity.MDTS = 1
		f.intercept = func(c *fakeConn, cmd tcp.Command) bool {
			if cmd.Opcode != tcp.OpWrite || c.qid == 0 || cmd.LBA() != 32 {
				return false
			}
			c.answer(cmd, tcp.StatusWriteFault|tcp.DNR, 0)
			return true
		}
	}
	connected(t, change, func(t *testing.T, _ *fake, c *Controller) {
		n, err := c.WriteAt(make([]byte, 64<<10), 0)
		var status *StatusError
		if n != 16<<10 || !errors.As(err, &status) {
			t.Errorf("WriteAt = %d, %v, want 16384 and a write fault", n, err)
		}
	})
}

// Of two commands that fail the first counts, whichever is answered first.
func TestPartialReadCountsFromTheStart(t *testing.T) {
	change := func(f *fake, _ *Config) {
		f.identity.MDTS = 1
		f.intercept = func(c *fakeConn, cmd tcp.Command) bool {
			if cmd.Opcode != tcp.OpRead || c.qid == 0 || (cmd.LBA() != 16 && cmd.LBA() != 48) {
				return false
			}
			c.later(func() {
				time.Sleep(time.Duration(cmd.LBA()) * time.Second / 64)
				c.answer(cmd, tcp.StatusUnrecoveredRead|tcp.DNR, 0)
			})
			return true
		}
	}
	connected(t, change, func(t *testing.T, _ *fake, c *Controller) {
		if n, err := c.ReadAt(make([]byte, 40<<10), 0); n != 8<<10 || err == nil {
			t.Errorf("ReadAt = %d, %v, want 8192 and an error", n, err)
		}
	})
}

// The memory of a read whose context ended belongs to the caller, whatever the target sends later.
func TestLateAnswerDoesNotTouchTheCallersMemory(t *testing.T) {
	release := make(chan struct{})
	change := func(f *fake, _ *Config) {
		f.disk[0] = 9
		release = make(chan struct{})
		f.intercept = func(c *fakeConn, cmd tcp.Command) bool {
			if c.qid != 0 && c.ready && cmd.Opcode == tcp.OpRead {
				<-release
			}
			return false
		}
	}
	connected(t, change, func(t *testing.T, _ *fake, c *Controller) {
		ctx, cancel := context.WithCancel(t.Context())
		p := make([]byte, 4096)
		done := make(chan error, 1)
		go func() { done <- second(c.ReadAtContext(ctx, p, 0)) }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatalf("err = %v", err)
		}
		close(release)
		synctest.Wait()
		if p[0] != 0 {
			t.Error("the answer reached the caller's memory")
		}
		// The slot and the queue are still good.
		if n, err := c.ReadAt(p, 0); n != len(p) || err != nil || p[0] != 9 {
			t.Errorf("next ReadAt = %d, %v, byte %d", n, err, p[0])
		}
	})
}

// A write whose context ended before its R2T is sent as it was, not as the caller's memory has
// become.
func TestAbandonedWriteSendsWhatItWas(t *testing.T) {
	release := make(chan struct{})
	change := func(f *fake, _ *Config) {
		release = make(chan struct{})
		f.intercept = func(c *fakeConn, cmd tcp.Command) bool {
			if c.qid != 0 && c.ready && cmd.Opcode == tcp.OpWrite {
				<-release
			}
			return false
		}
	}
	connected(t, change, func(t *testing.T, f *fake, c *Controller) {
		ctx, cancel := context.WithCancel(t.Context())
		p := bytes.Repeat([]byte{1}, 16<<10)
		done := make(chan error, 1)
		go func() { done <- second(c.WriteAtContext(ctx, p, 0)) }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatalf("err = %v", err)
		}
		for i := range p {
			p[i] = 2
		}
		// Other commands must not get the buffer either.
		close(release)
		if _, err := c.WriteAt(p, 64<<10); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !bytes.Equal(f.disk[:16<<10], bytes.Repeat([]byte{1}, 16<<10)) {
			t.Error("the abandoned write was torn")
		}
	})
}
