// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

func TestReconnectDecides(t *testing.T) {
	refused := fmt.Errorf("connect: %w", &StatusError{Op: "connect queue 0", Code: 0x184, DNR: true})
	soft := fmt.Errorf("connect: %w", &StatusError{Op: "connect queue 0", Code: 0x181})
	tests := map[string]struct {
		loss     time.Duration
		honorDNR bool
		err      error
		attempts int // after which it is over; 0: never within 50
	}{
		"never gives up":       {loss: -1, err: syscall.ECONNREFUSED},
		"rounded up":           {loss: 5 * time.Second, err: syscall.ECONNREFUSED, attempts: 3},
		"exact":                {loss: 4 * time.Second, err: syscall.ECONNREFUSED, attempts: 2},
		"less than a delay":    {loss: 1, err: syscall.ECONNREFUSED, attempts: 1},
		"dnr honoured":         {loss: -1, honorDNR: true, err: refused, attempts: 1},
		"dnr not honoured":     {loss: -1, err: refused},
		"refusal without dnr":  {loss: -1, honorDNR: true, err: soft},
		"dnr and loss timeout": {loss: 6 * time.Second, err: refused, attempts: 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			r := newReconnect(2*time.Second, tt.loss, tt.honorDNR)
			r.lost(now)
			for i := 1; i <= 50; i++ {
				if want := now.Add(2 * time.Second); !r.deadline().Equal(want) {
					t.Fatalf("attempt %d at %v, want %v", i, r.deadline(), want)
				}
				if r.begin(now.Add(2*time.Second - 1)) {
					t.Fatalf("attempt %d began early", i)
				}
				now = now.Add(2 * time.Second)
				if !r.begin(now) || !r.deadline().IsZero() {
					t.Fatalf("attempt %d did not begin", i)
				}
				gone := r.failed(now, tt.err)
				if (gone != nil) != (i == tt.attempts) {
					t.Fatalf("attempt %d: %v", i, gone)
				}
				if gone != nil {
					if !errors.Is(gone, ErrGone) || !errors.Is(gone, tt.err) {
						t.Errorf("%v does not wrap ErrGone and the cause", gone)
					}
					return
				}
			}
			if tt.attempts != 0 {
				t.Error("never gave up")
			}
		})
	}
}

func TestReconnectCountsAnew(t *testing.T) {
	now := time.Unix(1000, 0)
	r := newReconnect(time.Second, 2*time.Second, false)
	for range 5 {
		r.lost(now)
		now = r.deadline()
		r.begin(now)
		if err := r.failed(now, syscall.ECONNREFUSED); err != nil {
			t.Fatal(err)
		}
		now = r.deadline()
		r.begin(now)
		r.live()
		if !r.deadline().IsZero() {
			t.Fatal("an attempt is due while live")
		}
	}
}

// states records OnState.
type states []string

func (s *states) record(_, now State) { *s = append(*s, now.String()) }

// A dropped connection: the first attempt comes after the delay, to the nanosecond, and I/O that
// was in flight or was begun meanwhile is none the wiser.
func TestDropIsSurvived(t *testing.T) {
	var seen states
	change := func(f *fake, cfg *Config) {
		cfg.OnState = seen.record
		f.intercept = first(false, tcp.OpWrite, ignore)
	}
	connected(t, change, func(t *testing.T, f *fake, c *Controller) {
		cntlid := c.Identify().CNTLID
		inFlight, waiting := make(chan error, 1), make(chan error, 1)
		go func() { inFlight <- second(c.WriteAt(pattern(4096, 1), 0)) }()
		synctest.Wait()
		lost := time.Now()
		f.drop()
		synctest.Wait()
		if c.State() != StateConnecting {
			t.Fatalf("state %v after the drop", c.State())
		}
		go func() { waiting <- second(c.WriteAt(pattern(4096, 2), 4096)) }()
		for _, result := range []chan error{inFlight, waiting} {
			if err := <-result; err != nil {
				t.Errorf("write: %v", err)
			}
		}
		if took := time.Since(lost); took != 2*time.Second {
			t.Errorf("recovered after %v, want the reconnect delay, 2s", took)
		}
		if n := f.count(tcp.OpWrite, 1); n != 3 {
			t.Errorf("%d writes came, want 3: the one in flight twice", n)
		}
		if !bytes.Equal(f.disk[:8192], append(pattern(4096, 1), pattern(4096, 2)...)) {
			t.Error("the disk holds something else")
		}
		if now := c.Identify().CNTLID; now == cntlid {
			t.Errorf("controller ID %d after the reconnect, as before", now)
		}
	})
	want := states{"connecting", "live", "resetting", "connecting", "live", "deleting", "deleted"}
	if !slices.Equal(seen, want) {
		t.Errorf("states %v, want %v", seen, want)
	}
}

// A write that was carried out, whose answer was lost, is carried out once more.
func TestLostAnswerMeansWrittenTwice(t *testing.T) {
	change := func(f *fake, _ *Config) {
		f.intercept = first(false, tcp.OpWriteZeroes, func(c *fakeConn, _ tcp.Command) {
			f.set(func() { clear(f.disk[:512]) })
			_ = c.conn.Close()
		})
	}
	connected(t, change, func(t *testing.T, f *fake, c *Controller) {
		if err := c.WriteZeroes(t.Context(), 0, 512); err != nil {
			t.Fatal(err)
		}
		if n := f.count(tcp.OpWriteZeroes, 1); n != 2 {
			t.Errorf("%d commands came, want 2", n)
		}
	})
}

func TestAttemptsAreADelayApart(t *testing.T) {
	connected(t, nil, func(t *testing.T, f *fake, c *Controller) {
		before := len(f.dialled())
		lost := time.Now()
		f.set(func() { f.refused = true })
		f.drop()
		time.Sleep(9 * time.Second)
		f.set(func() { f.refused = false })
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		var after []time.Duration
		for _, at := range f.dialled()[before:] {
			after = append(after, at.Sub(lost))
		}
		want := []time.Duration{2e9, 4e9, 6e9, 8e9, 10e9, 10e9} // the last for the I/O queue
		if !slices.Equal(after, want) {
			t.Errorf("dialled after %v, want %v", after, want)
		}
	})
}

func TestDoNotRetry(t *testing.T) {
	for _, honor := range []bool{true, false} {
		t.Run(fmt.Sprintf("honoured=%v", honor), func(t *testing.T) {
			change := func(_ *fake, cfg *Config) { cfg.HonorDNR = honor }
			connected(t, change, func(t *testing.T, f *fake, c *Controller) {
				f.set(func() { f.connect = tcp.StatusConnectHost | tcp.DNR })
				f.drop()
				synctest.Wait()
				result := make(chan error, 1)
				go func() { result <- c.Flush(t.Context()) }()
				time.Sleep(11 * time.Second)
				if !honor {
					if c.State() != StateConnecting {
						t.Fatalf("state %v, want connecting", c.State())
					}
					f.set(func() { f.connect = 0 })
					if err := <-result; err != nil {
						t.Error(err)
					}
					return
				}
				err := <-result
				var status *StatusError
				if !errors.Is(err, ErrGone) || !errors.As(err, &status) || status.Code != 0x184 || !status.DNR {
					t.Errorf("waiting flush: %v, want ErrGone for status 0x184 with DNR", err)
				}
				select {
				case <-c.Done():
				default:
					t.Fatal("not done")
				}
				if c.State() != StateDeleted || !errors.Is(c.Err(), ErrGone) {
					t.Errorf("state %v, err %v", c.State(), c.Err())
				}
				if err := second(c.ReadAt(make([]byte, 512), 0)); !errors.Is(err, ErrGone) {
					t.Errorf("read afterwards: %v", err)
				}
			})
		})
	}
}

func TestLossTimeoutRunsOut(t *testing.T) {
	change := func(_ *fake, cfg *Config) { cfg.CtrlLossTimeout = 5 * time.Second }
	connected(t, change, func(t *testing.T, f *fake, c *Controller) {
		lost := time.Now()
		f.set(func() { f.refused = true })
		f.drop()
		synctest.Wait()
		if err := second(c.WriteAt(make([]byte, 512), 0)); !errors.Is(err, ErrGone) || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("write: %v", err)
		}
		if took := time.Since(lost); took != 6*time.Second {
			t.Errorf("given up after %v, want three delays, 6s", took)
		}
	})
}

// I/O that nothing answers while everything else works brings the connection down.
func TestLostCommandIsNoticed(t *testing.T) {
	change := func(f *fake, cfg *Config) {
		cfg.IOTimeout = 30 * time.Second
		f.intercept = first(false, tcp.OpFlush, ignore)
	}
	connected(t, change, func(t *testing.T, _ *fake, c *Controller) {
		time.Sleep(7 * time.Second)
		begun := time.Now()
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took != 32*time.Second {
			t.Errorf("flushed after %v, want timeout and delay, 32s", took)
		}
	})
}

// What was waiting for one disk is never written to another that took its name.
func TestAnotherDiskUnderTheSameName(t *testing.T) {
	connected(t, nil, func(t *testing.T, f *fake, c *Controller) {
		f.drop()
		synctest.Wait()
		was := f.ids
		f.set(func() { f.ids.UUID = uuid.MustParse("5f2a0c1e-0000-4000-8000-00000000000b") })
		if err := second(c.WriteAt(pattern(512, 1), 0)); !errors.Is(err, ErrNoNamespace) {
			t.Errorf("write: %v, want ErrNoNamespace", err)
		}
		if c.State() != StateLive || c.Size() != 0 {
			t.Errorf("state %v, size %d, want live without a disk", c.State(), c.Size())
		}
		if n := f.count(tcp.OpWrite, 1); n != 0 {
			t.Errorf("%d writes reached the other disk", n)
		}
		f.set(func() { f.ids = was })
		if err := c.Rescan(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := second(c.WriteAt(pattern(512, 1), 0)); err != nil {
			t.Errorf("write to the disk that came back: %v", err)
		}
	})
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	connected(t, nil, func(t *testing.T, f *fake, c *Controller) {
		f.set(func() { f.refused = true })
		f.drop()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begun := time.Now()
		if err := second(c.ReadAtContext(ctx, make([]byte, 512), 0)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("waited %v", took)
		}
		f.set(func() { f.refused = false })
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := f.count(tcp.OpRead, 1); n != 0 {
			t.Errorf("%d reads were issued for nobody", n)
		}
	})
}

func TestCloseWhile(t *testing.T) {
	tests := map[string]struct {
		prepare func(*fake)
		wait    time.Duration // before Close
		most    time.Duration // that Close takes
	}{
		"waiting for the delay": {func(f *fake) { f.set(func() { f.refused = true }); f.drop() }, time.Second, 0},
		"an attempt hangs":      {func(f *fake) { f.drop(); f.freeze() }, 3 * time.Second, 0},
		"the target is frozen":  {func(f *fake) { f.freeze() }, time.Second, shutdownTimeout},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var dialed func() error // nil while the last connection is being made
			change := func(f *fake, cfg *Config) {
				cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					dialed = ctx.Err
					return f.dial(ctx, network, address)
				}
			}
			connected(t, change, func(t *testing.T, f *fake, c *Controller) {
				tt.prepare(f)
				result := make(chan error, 1)
				go func() { result <- second(c.WriteAt(make([]byte, 16<<10), 0)) }()
				time.Sleep(tt.wait)
				begun := time.Now()
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				if took := time.Since(begun); took > tt.most {
					t.Errorf("Close took %v, want at most %v", took, tt.most)
				}
				if dialed() == nil {
					t.Error("an attempt goes on after Close")
				}
				if err := <-result; !errors.Is(err, ErrClosed) {
					t.Errorf("write: %v, want ErrClosed", err)
				}
			})
		})
	}
}
