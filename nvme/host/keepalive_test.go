// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

func TestKeepAliveTimes(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	k := keepAlive{timeout: 4 * time.Second}
	if !k.deadline().IsZero() || k.due(at(100)) || k.expired(at(100)) {
		t.Fatal("runs without an association")
	}
	k.start(at(0))
	switch {
	case !k.deadline().Equal(at(2)):
		t.Fatalf("first at %v", k.deadline())
	case k.due(at(1.9)):
		t.Fatal("sent early")
	case !k.due(at(2.1)):
		t.Fatal("not sent")
	case k.due(at(3)):
		t.Fatal("sent twice")
	case !k.deadline().Equal(at(6.1)) || k.expired(at(6)) || !k.expired(at(6.1)):
		t.Fatalf("expires at %v", k.deadline())
	}
	k.answered(at(3))
	if k.expired(at(100)) || !k.deadline().Equal(at(5)) {
		t.Fatalf("next at %v", k.deadline())
	}
	k.stop()
	if !k.deadline().IsZero() || k.expired(at(100)) {
		t.Error("goes on after the association")
	}
	none := keepAlive{}
	none.start(at(0))
	if !none.deadline().IsZero() {
		t.Error("runs without a timeout")
	}
}

func TestKeepAliveIsSent(t *testing.T) {
	connected(t, nil, func(t *testing.T, f *fake, c *Controller) {
		time.Sleep(26 * time.Second)
		synctest.Wait()
		if n := f.count(tcp.OpKeepAlive, 0); n != 10 {
			t.Errorf("%d keep alives in 26s, want one each 2.5s", n)
		}
		if f.kato != 5000 {
			t.Errorf("KATO %d, want 5000", f.kato)
		}
		if c.State() != StateLive {
			t.Errorf("state %v", c.State())
		}
	})
}

func TestNoKeepAlive(t *testing.T) {
	change := func(f *fake, cfg *Config) { cfg.KeepAlive, f.identity.KAS = -1, 0 }
	connected(t, change, func(t *testing.T, f *fake, _ *Controller) {
		time.Sleep(time.Minute)
		if n := f.count(tcp.OpKeepAlive, 0); n != 0 || f.kato != 0 {
			t.Errorf("%d keep alives, KATO %d", n, f.kato)
		}
	})
}

// A target that freezes with its connections open is noticed by the keep alive alone, and I/O goes
// on when it thaws.
func TestFrozenTargetIsNoticed(t *testing.T) {
	connected(t, nil, func(t *testing.T, f *fake, c *Controller) {
		f.freeze()
		frozen := time.Now()
		result := make(chan error, 1)
		go func() { result <- second(c.WriteAt(pattern(16<<10, 5), 0)) }()
		time.Sleep(7500*time.Millisecond - time.Nanosecond)
		if c.State() != StateLive {
			t.Fatalf("state %v after %v", c.State(), time.Since(frozen))
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if c.State() != StateConnecting {
			t.Fatalf("state %v after %v", c.State(), time.Since(frozen))
		}
		f.thaw()
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(frozen); took != 9500*time.Millisecond {
			t.Errorf("recovered after %v, want 7.5s and the delay", took)
		}
	})
}

// A target that no longer knows the controller says so in its answer to the keep alive.
func TestKeepAliveRefused(t *testing.T) {
	change := func(f *fake, _ *Config) {
		f.intercept = first(true, tcp.OpKeepAlive, func(c *fakeConn, cmd tcp.Command) {
			c.answer(cmd, tcp.StatusKeepAliveExpired, 0)
		})
	}
	connected(t, change, func(t *testing.T, _ *fake, c *Controller) {
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		if c.State() != StateConnecting {
			t.Errorf("state %v, want connecting", c.State())
		}
	})
}
