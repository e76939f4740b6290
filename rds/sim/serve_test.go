// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// TestFaults holds what each fault does to the answer and to the box.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault Fault
		done  bool // the disk is there
	}{
		{"drop before", Fault{DropBefore: true}, false},
		{"drop after", Fault{DropAfter: true}, true},
		{"trap", Fault{Trap: "out of ideas"}, false},
		{"delay", Fault{Delay: time.Nanosecond}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, Config{Fault: func(c Command) Fault {
				if c.Name == "/disk/add" && c.Arg("slot") == "vm-1" {
					return tt.fault
				}
				return Fault{}
			}})
			c := login(t, s)
			c.send(addWords("vm-1")...)
			switch {
			case tt.fault.DropBefore || tt.fault.DropAfter:
				c.wantClosed()
			case tt.fault.Trap != "":
				c.want("!trap", "=message="+tt.fault.Trap)
				c.want("!done")
			default:
				c.want("!done", "=ret=*2")
			}
			if got := len(s.Disks()) == 1; got != tt.done {
				t.Errorf("disk is there: %v, want %v", got, tt.done)
			}
		})
	}
}

// TestLateWrite shows that a write that is held lands after its connection is gone and after later
// writes of another, which is how an answer that was given up comes true.
func TestLateWrite(t *testing.T) {
	hold := make(chan struct{})
	s := start(t, Config{Fault: func(c Command) Fault {
		if c.Arg("comment") == "late" {
			return Fault{Hold: hold}
		}
		return Fault{}
	}})
	c, watch := login(t, s), login(t, s)
	c.add("vm-1")
	c.send("/disk/set", "=.id=*2", "=comment=late")
	c.send("/disk/set", "=.id=*2", "=comment=overtakes", ".tag=2")
	c.want("!done", ".tag=2")
	s.DropConnections()
	c.wantClosed()
	watch.wantClosed()
	watch = login(t, s)
	watch.must("/disk/set", "=.id=*2", "=comment=early")
	watch.send("/disk/listen", "=.proplist=comment")
	watch.must("/system/identity/print") // the listen was received before
	close(hold)
	watch.want("!re", "=comment=late")
}

// TestPowerOffLosesHeldWrite shows that a reboot drops what was not carried out.
func TestPowerOffLosesHeldWrite(t *testing.T) {
	s := start(t, Config{Fault: func(c Command) Fault {
		if c.Name == "/disk/set" {
			return Fault{Hold: make(chan struct{})}
		}
		return Fault{}
	}})
	c := login(t, s)
	c.add("vm-1")
	c.send("/disk/set", "=.id=*2", "=comment=lost")
	c.must("/disk/print")
	if err := s.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.wantClosed()
	if got := s.Disks()[0].Comment; got != "" {
		t.Errorf("comment is %q", got)
	}
}

// TestPipelinedOrder shows that changes sent without waiting take effect in the order in which they
// were sent, although many are served at a time.
func TestPipelinedOrder(t *testing.T) {
	s := start(t, Config{Concurrency: 4, ServiceTime: time.Microsecond})
	c, other := login(t, s), login(t, s)
	c.add("vm-1")
	for i := range 50 {
		c.send("/disk/set", "=.id=*2", fmt.Sprintf("=comment=%d", i), fmt.Sprintf(".tag=%d", i))
	}
	other.must("/disk/print")
	for range 50 {
		c.read()
	}
	if got := s.Disks()[0].Comment; got != "49" {
		t.Errorf("the last change is %q, want 49", got)
	}
}

// TestTurns shows, that a turn which gives up
// does not let the one behind it overtake the one before it.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o order
		first, second, third := o.next(), o.next(), o.next()
		first.begun()
		go second.end() // interrupted before it began
		reached := false
		go func() {
			_ = third.start(t.Context())
			third.begun()
			_ = third.wait(t.Context())
			reached = true
			third.end()
		}()
		synctest.Wait()
		if reached {
			t.Error("the third turn overtook the first")
		}
		first.end()
		synctest.Wait()
		if !reached {
			t.Error("the third turn still waits")
		}
	})
}

// TestServiceTime shows the model: so many at a time, each for so long. The sockets are left out, so
// that time is the test's.
func TestServiceTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &boot{cfg: Config{ServiceTime: time.Second}, places: make(chan struct{}, 3)}
		h := handler{run: func(_ context.Context, _ Command) (reply, error) { return reply{}, nil }}
		began := time.Now()
		var wg sync.WaitGroup
		for range 7 {
			wg.Go(func() {
				if _, err := b.serve(t.Context(), nil, h, Command{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("7 commands, 3 at a time, took %v, want 3s", took)
		}
	})
}

// TestManyClients makes disks over many connections at once; the pool must add up at the end.
func TestManyClients(t *testing.T) {
	s := start(t, Config{Capacity: 100 * gib})
	var wg sync.WaitGroup
	for i := range 8 {
		c := login(t, s)
		wg.Go(func() {
			for j := range 10 {
				slot := fmt.Sprintf("d%d-%d", i, j)
				_, _ = c.conn.Write(routeros.AppendSentence(nil, addWords(slot)...))
				_, _ = c.conn.Write(routeros.AppendSentence(nil, "/disk/set", "=numbers="+slot, "=file-size=2G"))
			}
			for range 20 {
				if words, err := c.r.ReadSentence(); err != nil || words[0] == "!trap" {
					// A trap has a done of its own behind it.
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = c.r.ReadSentence()
				}
			}
		})
	}
	wg.Wait()
	used := int64(0)
	for _, f := range s.Files() {
		used += f.Size
	}
	if s.Free() != 100*gib-used || s.Free() < 0 || s.Free() > 2*gib {
		t.Errorf("%d bytes are free, files have %d", s.Free(), used)
	}
	if slots := s.Disks(); len(slots) < 50 || len(slots) != len(s.Files()) {
		t.Errorf("%d disks, %d files", len(slots), len(s.Files()))
	}
}
