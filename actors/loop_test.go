// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// panicsOn is a Step with a bug: it panics when a node asks.
func panicsOn(node NodeID) func(State, time.Time, Event) (State, []Effect) {
	return func(s State, now time.Time, ev Event) (State, []Effect) {
		if p, ok := ev.(Publish); ok && p.Node == node {
			panic("a bug")
		}
		return Step(s, now, ev)
	}
}

func TestAPanicForgetsNoTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, created(FencingEpoch))
		defer h.stop()
		h.step = panicsOn("node-c")
		for _, node := range []NodeID{"node-a", "node-b"} {
			if _, err := h.publish(node, AccessShared); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = h.publish("node-c", AccessShared)
		time.Sleep(10 * time.Minute)
		h.wantTold(Attached, Attached, MigrationStarted, MigrationTimedOut)
	})
}

func TestAfterAPanicTheWriteInFlightHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, created(FencingEpoch))
		defer h.stop()
		h.step = panicsOn("node-c")
		time.Sleep(time.Second)
		h.box.set(func(b *fakeBox) {
			b.delay = 9 * time.Second
			b.fault = func(Write) (bool, error) { return false, ErrUnresolved }
		})
		go func() { _, _ = h.publish("node-a", AccessSingle) }()
		time.Sleep(10 * time.Second) // the row is read, the grant is in flight
		_, _ = h.publish("node-c", AccessSingle)
		time.Sleep(8500 * time.Millisecond) // its answer is lost
		h.box.set(func(b *fakeBox) { b.delay, b.fault = time.Millisecond, nil })
		time.Sleep(8 * time.Second) // it may land yet
		if _, err := h.publish("node-b", AccessSingle); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("while the lost grant may land: %v", err)
		}
	})
}

func TestWhatIsInFlightAtTheStopIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, created(FencingEpoch))
		for _, node := range []NodeID{"node-a", "node-b"} {
			if _, err := h.publish(node, AccessShared); err != nil {
				t.Fatal(err)
			}
		}
		h.box.set(func(b *fakeBox) { b.delay = 5 * time.Second })
		go func() { _ = h.Unpublish(context.Background(), testVolume, "node-a") }()
		time.Sleep(time.Second)
		h.stop()
		if h.box.row(testVolume).Ledger.Told == "" {
			t.Fatal("the revoke did not land")
		}
		h.wantTold(Attached, Attached, MigrationStarted, Detached, MigrationCompleted)
	})
}

func TestWhatIsInFlightAtAPanicIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, created(FencingEpoch))
		defer h.stop()
		h.step = panicsOn("node-c")
		for _, node := range []NodeID{"node-a", "node-b"} {
			if _, err := h.publish(node, AccessShared); err != nil {
				t.Fatal(err)
			}
		}
		h.box.set(func(b *fakeBox) { b.delay = 5 * time.Second })
		go func() { _ = h.Unpublish(context.Background(), testVolume, "node-a") }()
		time.Sleep(time.Second)
		_, _ = h.publish("node-c", AccessShared)
		time.Sleep(time.Minute)
		h.wantTold(Attached, Attached, MigrationStarted, Detached, MigrationCompleted)
	})
}

func TestWhatIsToldShowsAlready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, created(FencingEpoch))
		defer h.stop()
		h.told.on = func(a Announcement) {
			if st := h.Stats(); a.Kind == MigrationStarted && st.Migrating != 1 {
				t.Errorf("told %v, the stats are %+v", a.Kind, st)
			}
		}
		for _, node := range []NodeID{"node-a", "node-b"} {
			if _, err := h.publish(node, AccessShared); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestAnActorWithMailDoesNotRetire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		defer h.stop()
		a := newActor(testVolume, h.Supervisor)
		if !h.retire(a) {
			t.Fatal("an idle actor stays")
		}
		a.news.observed()
		if h.retire(a) {
			t.Fatal("retired over an observation")
		}
		<-a.news.wake
		a.mailbox <- message{}
		if h.retire(a) {
			t.Fatal("retired over a request, which nobody would answer")
		}
	})
}

func TestAStartFinishesABounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := created(FencingHost)
		v.Ledger.Access, v.Ledger.Grants = AccessShared, []Grant{{"node-a", 1}}
		v.Ledger.Bounce, v.Ledger.Off = 2, true
		v.AllowHost = HostOf(testCluster, "node-a").NQN
		h := newHouse(t, v)
		defer h.stop()
		time.Sleep(time.Minute)
		if got := h.box.row(testVolume); !got.Export || got.Ledger.Off {
			t.Fatalf("nobody asked, and the box shows %+v", got)
		}
	})
}
