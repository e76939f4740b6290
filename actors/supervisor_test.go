// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		tellExplored(os.Stdout)
		os.Exit(code)
	}))
}

const otherVolume = VolumeID("pvc-7c1f9a52-5d3e-4a0b-8f11-0c9d8e7f6a55")

// A house is a supervisor with its box, in a synctest bubble.
type house struct {
	*Supervisor
	t     *testing.T
	box   *fakeBox
	nodes *fakeNodes
	told  *told

	inherited    [][]Announcement // of each call
	orchestrator Orchestrator     // nil: none
	staleLimit   int
	frozen       func(context.Context) error

	hooks struct{ waits, joins, panics atomic.Int64 }
	stop  func()
}

func newHouse(t *testing.T, vols ...Volume) *house {
	h := &house{t: t, box: newFakeBox(vols...), nodes: &fakeNodes{lost: map[NodeID]string{}}, told: &told{}}
	h.open()
	return h
}

// open starts a new process on the same box.
func (h *house) open() {
	s, err := New(Config{
		Box: h.box, Nodes: h.nodes, Cluster: testCluster, CommandTimeout: 10 * time.Second, Announcer: h.told,
		Orchestrator: h.orchestrator, StaleLimit: h.staleLimit, Frozen: h.frozen,
		Inherited: func(as []Announcement) { h.inherited = append(h.inherited, as) },
		Hooks: Hooks{
			MailboxWait: func(time.Duration) { h.hooks.waits.Add(1) },
			Joined:      func(string) { h.hooks.joins.Add(1) },
			Panicked:    func() { h.hooks.panics.Add(1) },
		},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.Supervisor = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	h.stop = func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	}
	synctest.Wait()
}

func (h *house) wantTold(kinds ...AnnouncementKind) {
	h.t.Helper()
	synctest.Wait()
	if got := h.told.kinds(); !slices.Equal(got, kinds) {
		h.t.Fatalf("told %v, want %v", got, kinds)
	}
}

func (h *house) publish(node NodeID, access Access) (Volume, error) {
	return h.Publish(context.Background(), testVolume, node, access, PolicyAuto)
}

func TestAMigrationThroughTheSupervisor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, created(FencingHost))
		defer h.stop()
		if _, err := h.publish("node-a", AccessShared); err != nil {
			t.Fatal(err)
		}
		v, err := h.publish("node-b", AccessShared)
		if err != nil || len(v.Ledger.Grants) != 2 {
			t.Fatalf("%+v, %v", v, err)
		}
		if st := h.Stats(); st.Migrating != 1 || st.Actors != 1 {
			t.Fatalf("stats %+v", st)
		}
		if _, err := h.publish("node-c", AccessShared); !errors.Is(err, ErrPrecondition) {
			t.Fatalf("a third node: %v", err)
		}
		h.nodes.lost["node-a"] = "node is gone"
		if err := h.Unpublish(context.Background(), testVolume, "node-a"); err != nil {
			t.Fatal(err)
		}
		if w := h.box.writes[len(h.box.writes)-1]; !isBounce(w) {
			t.Fatal("a lost node was not bounced off")
		}
		h.wantTold(Attached, Attached, MigrationStarted, Conflict, Detached, MigrationCompleted)
		if st := h.Stats(); st.Migrating != 0 || st.Waiting != 0 {
			t.Fatalf("stats %+v", st)
		}
	})
}

func TestACallersDeadlineDoesNotEndTheOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, created(FencingEpoch))
		defer h.stop()
		h.box.set(func(b *fakeBox) { b.delay = 5 * time.Second })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := h.Publish(ctx, testVolume, "node-a", AccessSingle, PolicyAuto); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		// The retry joins, and there is one write.
		if _, err := h.publish("node-a", AccessSingle); err != nil {
			t.Fatal(err)
		}
		if _, writes := h.box.counts(); writes != 1 || h.hooks.joins.Load() != 1 {
			t.Fatalf("%d writes, %d joins", writes, h.hooks.joins.Load())
		}
	})
}

func TestVolumesDoNotWaitForOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := created(FencingEpoch)
		other.ID, other.NQN = otherVolume, NQN(testPrefix, otherVolume, 0)
		h := newHouse(t, created(FencingEpoch), other)
		defer h.stop()
		release := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := h.Exclusive(t.Context(), testVolume, Operation{Kind: OpExpand, Run: func(context.Context) (Volume, error) {
				<-release
				return h.box.row(testVolume), nil
			}})
			if err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if _, err := h.Publish(t.Context(), otherVolume, "node-a", AccessSingle, PolicyAuto); err != nil {
			t.Fatal(err)
		}
		close(release)
		wg.Wait()
	})
}

func TestIdleActorsRetireAndComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, created(FencingEpoch))
		defer h.stop()
		if _, err := h.publish("node-a", AccessSingle); err != nil {
			t.Fatal(err)
		}
		time.Sleep(h.cfg.Linger + time.Second)
		synctest.Wait()
		if st := h.Stats(); st.Actors != 0 {
			t.Fatalf("%d actors linger", st.Actors)
		}
		_, before := h.box.counts()
		if _, err := h.publish("node-a", AccessSingle); err != nil {
			t.Fatal(err)
		}
		if _, after := h.box.counts(); after != before {
			t.Fatal("a publish repeated after retirement wrote to the box")
		}
	})
}

func TestAMigrationIsNotRetired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := created(FencingEpoch)
		v.Ledger.Timeout = MaxTimeout
		h := newHouse(t, v)
		defer h.stop()
		for _, node := range []NodeID{"node-a", "node-b"} {
			if _, err := h.publish(node, AccessShared); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(MaxTimeout*time.Second - time.Minute)
		synctest.Wait()
		h.wantTold(Attached, Attached, MigrationStarted)
		time.Sleep(2 * time.Minute)
		h.wantTold(Attached, Attached, MigrationStarted, MigrationTimedOut)
	})
}

func TestARestartResumesTheMigrationsTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, created(FencingEpoch))
		for _, node := range []NodeID{"node-a", "node-b"} {
			if _, err := h.publish(node, AccessShared); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(100 * time.Second)
		h.stop()
		h.box.set(func(b *fakeBox) { b.away = ErrUnavailable }) // it stays up while the box is away
		h.open()
		defer h.stop()
		time.Sleep(100 * time.Second)
		h.box.set(func(b *fakeBox) { b.away = nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := h.Stats(); st.Migrating != 1 {
			t.Fatalf("after the restart: %+v", st)
		}
		time.Sleep(time.Minute)
		h.wantTold(Attached, Attached, MigrationStarted, MigrationTimedOut)
	})
}

func TestAPanicCostsOneVolumeItsStateAndNobodyElseAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, created(FencingEpoch))
		defer h.stop()
		if _, err := h.publish("node-a", AccessSingle); err != nil {
			t.Fatal(err)
		}
		panics := 1
		h.step = func(s State, now time.Time, ev Event) (State, []Effect) {
			if _, ok := ev.(Publish); ok && panics > 0 {
				panics--
				panic("a bug")
			}
			return Step(s, now, ev)
		}
		if _, err := h.publish("node-b", AccessSingle); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
		if _, err := h.publish("node-b", AccessSingle); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("during its penance: %v", err)
		}
		time.Sleep(30 * time.Second)
		// The grant was rebuilt from the row.
		if _, err := h.publish("node-b", AccessSingle); !errors.Is(err, ErrPrecondition) && !errors.Is(err, ErrUnavailable) {
			t.Fatalf("a second writer: %v", err)
		}
		time.Sleep(30 * time.Second)
		if _, err := h.publish("node-a", AccessSingle); err != nil {
			t.Fatal(err)
		}
		if h.hooks.panics.Load() != 1 {
			t.Fatalf("%d panics were counted", h.hooks.panics.Load())
		}
	})
}

func TestAVolumeThatKeepsPanickingIsQuarantinedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := created(FencingEpoch)
		other.ID, other.NQN = otherVolume, NQN(testPrefix, otherVolume, 0)
		h := newHouse(t, created(FencingEpoch), other)
		defer h.stop()
		h.step = func(s State, now time.Time, ev Event) (State, []Effect) {
			if p, ok := ev.(Publish); ok && s.id == testVolume {
				panic(p)
			}
			return Step(s, now, ev)
		}
		for range maxPanics {
			if _, err := h.publish("node-a", AccessSingle); !errors.Is(err, ErrUnavailable) {
				t.Fatalf("got %v", err)
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Hour)
		if st := h.Stats(); st.Quarantined != 1 {
			t.Fatalf("stats %+v", st)
		}
		if _, err := h.publish("node-a", AccessSingle); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("in quarantine: %v", err)
		}
		if _, err := h.Publish(t.Context(), otherVolume, "node-a", AccessSingle, PolicyAuto); err != nil {
			t.Fatalf("the other volume: %v", err)
		}
		if got := h.hooks.panics.Load(); got != maxPanics {
			t.Fatalf("%d panics", got)
		}
	})
}

func TestAPanickingOperationIsUnresolved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, created(FencingEpoch))
		defer h.stop()
		_, err := h.Exclusive(t.Context(), testVolume, Operation{Kind: OpExpand, Run: func(context.Context) (Volume, error) { panic("a bug") }})
		if !errors.Is(err, ErrUnresolved) {
			t.Fatalf("got %v", err)
		}
		if st := h.Stats(); st.Unresolved != 1 {
			t.Fatalf("stats %+v", st)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := h.Stats(); st.Unresolved != 0 {
			t.Fatalf("stats %+v", st)
		}
	})
}

func TestStopAnswersWhoWaitsAndWaitsForTheBox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, created(FencingEpoch))
		time.Sleep(time.Second) // the first reconciliation is over
		h.box.set(func(b *fakeBox) { b.delay = 5 * time.Second })
		answered := make(chan error, 1)
		go func() {
			_, err := h.publish("node-a", AccessSingle)
			answered <- err
		}()
		time.Sleep(6 * time.Second) // the row is read, the grant is in flight
		h.stop()
		if err := <-answered; !errors.Is(err, ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
		if !h.box.row(testVolume).Ledger.Granted("node-a") {
			t.Fatal("Run returned before the write in flight was answered")
		}
		if _, err := h.publish("node-a", AccessSingle); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("after the stop: %v", err)
		}
	})
}

func TestAFullMailboxAnswersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, created(FencingEpoch))
		defer h.stop()
		entered, release := make(chan struct{}), make(chan struct{})
		h.step = func(s State, now time.Time, ev Event) (State, []Effect) {
			if _, ok := ev.(Publish); ok {
				entered <- struct{}{}
				<-release
			}
			return Step(s, now, ev)
		}
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = h.publish("node-a", AccessSingle) })
		<-entered // the loop looks at the first one
		for range mailboxSize {
			wg.Go(func() { _, _ = h.publish("node-a", AccessSingle) })
		}
		synctest.Wait()
		if _, err := h.publish("node-a", AccessSingle); !errors.Is(err, ErrBusy) {
			t.Fatalf("got %v", err)
		}
		go func() {
			for range mailboxSize {
				<-entered
			}
		}()
		close(release)
		wg.Wait()
	})
}

func TestListTakesTheNewerLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		foreign := created(FencingEpoch)
		foreign.ID, foreign.Ledger.Cluster = otherVolume, "ba9876543210"
		h := newHouse(t, created(FencingEpoch), foreign)
		defer h.stop()
		old := h.box.row(testVolume)
		if _, err := h.publish("node-a", AccessSingle); err != nil {
			t.Fatal(err)
		}
		h.box.set(func(b *fakeBox) { b.rows[testVolume] = old })
		vols, err := h.List(t.Context())
		if err != nil || len(vols) != 1 || !vols[0].Ledger.Granted("node-a") {
			t.Fatalf("%+v, %v", vols, err)
		}
		h.box.set(func(b *fakeBox) { b.away = ErrUnavailable })
		if _, err := h.List(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("while the box is away: %v", err)
		}
	})
}

func TestReconcileFindsWhatTheBoxForgot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, created(FencingEpoch))
		defer h.stop()
		old := h.box.row(testVolume)
		if _, err := h.publish("node-a", AccessSingle); err != nil {
			t.Fatal(err)
		}
		h.box.set(func(b *fakeBox) { b.rows[testVolume] = old })
		h.Reconcile()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if v := h.box.row(testVolume); !v.Export || !v.Ledger.Granted("node-a") {
			t.Fatalf("the box shows %+v", v)
		}
	})
}

func TestBadRequestsReachNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, created(FencingEpoch))
		defer h.stop()
		time.Sleep(time.Second)
		reads, _ := h.box.counts()
		ctx := t.Context()
		for _, err := range []error{
			second(h.Publish(ctx, "pvc-1", "node-a", AccessSingle, PolicyAuto)),
			second(h.Publish(ctx, testVolume, "Node A", AccessSingle, PolicyAuto)),
			second(h.Publish(ctx, testVolume, "", AccessSingle, PolicyAuto)),
			second(h.Publish(ctx, testVolume, "node-a", AccessNone, PolicyAuto)),
			h.Unpublish(ctx, "", "node-a"),
			h.Unpublish(ctx, "", ""),
			h.Unpublish(ctx, testVolume, "../x"),
			second(h.Exclusive(ctx, testVolume, Operation{})),
			second(h.Get(ctx, "x")),
		} {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v", err)
			}
		}
		h.nodes.refuse = ErrNotFound
		if _, err := h.publish("node-z", AccessSingle); !errors.Is(err, ErrNotFound) {
			t.Errorf("an unknown node: %v", err)
		}
		if after, writes := h.box.counts(); after != reads || writes != 0 {
			t.Errorf("%d reads and %d writes", after-reads, writes)
		}
	})
}

func second(_ Volume, err error) error { return err }
