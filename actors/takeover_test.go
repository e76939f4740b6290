// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const foreignCluster = "ffffffffffff"

// newForeignStage begins with a volume that another cluster has granted.
func newForeignStage(t *testing.T, fencing Fencing, access Access, grants ...Grant) *stage {
	st := newOrchestratedStage(t, fencing)
	l := &st.row.Ledger
	l.Cluster, l.Gen = foreignCluster, 7
	if l.Grants = grants; len(grants) > 0 {
		l.Access, l.Epoch = access, 5
		st.row.NQN, st.row.Export = NQN(testPrefix, testVolume, 5), true
	}
	st.cluster.adoption = Adoption{Access: access, Timeout: 600}
	return st
}

func (st *stage) takeOver(force bool) Waiter {
	st.tickets++
	st.do(TakeOver{Waiter: st.tickets, From: foreignCluster, Gen: 7, Force: force})
	return st.tickets
}

// TestAVolumeIsTakenOver from another cluster. Whoever has it there and not here loses it.
func TestAVolumeIsTakenOver(t *testing.T) {
	for _, granted := range []bool{false, true} {
		t.Run(fmt.Sprint("granted ", granted), func(t *testing.T) {
			var grants []Grant
			if granted {
				grants = []Grant{{"node-x", 9}}
			}
			st := newForeignStage(t, FencingEpoch, AccessSingle, grants...)
			w := st.takeOver(granted)
			st.finish()
			st.wantReply(w, nil)
			if l := st.row.Ledger; l.Cluster != testCluster || l.Gen != 8 || l.Timeout != 600 || len(l.Grants) > 0 || st.row.Export {
				t.Fatalf("taken over as %+v", st.row)
			}
			if sent := st.sent[0]; sent.From != foreignCluster || sent.Guard != 7 {
				t.Fatalf("sent %+v", sent)
			}
			st.wantTold(Adopted)
			old := st.row.NQN
			w = st.publish("node-a", AccessSingle)
			st.finish()
			st.wantReply(w, nil)
			if st.row.NQN == old || st.sent[len(st.sent)-1].From != "" {
				t.Fatalf("granted as %+v by %+v", st.row, st.sent)
			}
		})
	}
}

// TestATakenVolumeStaysWhereItIsAttached, as when the cluster has got another identity.
func TestATakenVolumeStaysWhereItIsAttached(t *testing.T) {
	st := newForeignStage(t, FencingEpoch, AccessShared, Grant{"node-a", 9}, Grant{"node-b", 10})
	st.cluster.adoption.Grants = []Grant{{"node-b", 100}, {"node-a", 200}}
	nqn := st.row.NQN
	w := st.takeOver(true)
	st.finish()
	st.wantReply(w, nil)
	st.wantGranted("node-a", "node-b")
	if st.row.NQN != nqn || !st.row.Export || st.row.Ledger.Grants[1].At != 10 {
		t.Fatalf("taken over as %+v", st.row)
	}
}

func TestATakeOverIsRefused(t *testing.T) {
	here := []Grant{{"node-a", 100}}
	tests := []struct {
		name    string
		fencing Fencing
		access  Access
		grants  []Grant // there
		change  func(*stage)
		force   bool
		want    error
		says    string
	}{
		{"granted there", FencingEpoch, AccessSingle, []Grant{{"node-x", 9}}, nil, false, ErrPrecondition, "node-x"},
		{"another cluster's meanwhile", FencingEpoch, AccessSingle, nil, func(st *stage) { st.row.Ledger.Cluster = "eeeeeeeeeeee" }, true, ErrPrecondition, "meanwhile"},
		{"written meanwhile", FencingEpoch, AccessSingle, nil, func(st *stage) { st.row.Ledger.Gen = 8 }, true, ErrPrecondition, "meanwhile"},
		{"no PersistentVolume here", FencingEpoch, AccessSingle, nil, func(st *stage) { st.cluster.foreign = fmt.Errorf("none: %w", ErrPrecondition) }, true, ErrPrecondition, "none"},
		{"cannot be told", FencingEpoch, AccessSingle, nil, func(st *stage) { st.cluster.foreign = errAway }, true, ErrUnavailable, ""},
		{"it is gone", FencingEpoch, AccessSingle, nil, func(st *stage) { st.row = Volume{ID: testVolume} }, true, ErrNotFound, ""},
		{
			"one of two is here", FencingEpoch, AccessShared,
			[]Grant{{"node-a", 9}, {"node-x", 10}},
			func(st *stage) { st.cluster.adoption.Grants = here }, true, ErrPrecondition, "fence the others",
		},
		{
			"as something else", FencingEpoch, AccessShared,
			[]Grant{{"node-a", 9}},
			func(st *stage) {
				st.cluster.adoption.Grants, st.cluster.adoption.Access = here, AccessSingle
			}, true, ErrPrecondition, "ReadWriteOnce",
		},
		{
			"connected by its old name", FencingHost, AccessSingle,
			[]Grant{{"node-a", 9}},
			func(st *stage) { st.cluster.adoption.Grants = here }, true, ErrPrecondition, "identity",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := newForeignStage(t, tt.fencing, tt.access, tt.grants...)
			if tt.change != nil {
				tt.change(st)
			}
			w := st.takeOver(tt.force)
			st.finish()
			st.wantReply(w, tt.want)
			if !strings.Contains(st.replies[w].Err.Error(), tt.says) {
				t.Errorf("says %q, want %q in it", st.replies[w].Err, tt.says)
			}
			if len(st.sent) > 0 {
				t.Fatalf("wrote %+v", st.sent)
			}
		})
	}
}

// TestAnOlderVolumeIsTakenOver when a person asks for it, too.
func TestAnOlderVolumeIsTakenOver(t *testing.T) {
	st := newOlderStage(t, Adoption{Access: AccessSingle, Timeout: 300})
	st.do(TakeOver{Waiter: 99})
	st.finish()
	st.wantReply(99, nil)
	if !st.row.Ours || st.row.Export {
		t.Fatalf("taken over as %+v", st.row)
	}
	st.do(TakeOver{Waiter: 100})
	st.finish()
	st.wantReply(100, nil)
	if len(st.sent) != 1 {
		t.Fatalf("wrote %+v", st.sent)
	}
}

// TestALostTakeOverIsSettled: its write may land at any time, and is found or made again.
func TestALostTakeOverIsSettled(t *testing.T) {
	for _, lands := range []bool{false, true} {
		t.Run(fmt.Sprint("lands ", lands), func(t *testing.T) {
			st := newForeignStage(t, FencingEpoch, AccessSingle)
			w := st.takeOver(false)
			st.answer()
			st.answer()
			st.lose(0)
			st.wantReply(w, ErrUnresolved)
			if again := st.takeOver(false); st.replies[again].Err == nil {
				t.Fatal("done while it is unresolved")
			}
			if lands {
				st.landLate()
			}
			st.lost = nil
			st.settle()
			last := st.takeOver(false)
			st.finish()
			st.wantReply(last, nil)
			if st.row.Ledger.Cluster != testCluster || st.row.Ledger.Gen != 8 {
				t.Fatalf("taken over as %+v", st.row)
			}
		})
	}
}

// TestAPersonsWriteIsTheTruth for a controller that remembers another one and has it looked at, or has not
// yet: it is never undone.
func TestAPersonsWriteIsTheTruth(t *testing.T) {
	for _, what := range []string{"looked at", "remembered", "asked for again"} {
		t.Run(what, func(t *testing.T) {
			st := newStage(t, FencingEpoch)
			st.attach(AccessSingle, "node-a")
			// Another process, which read the same row, takes the grant out.
			st.row.Ledger.Grants, st.row.Ledger.Access, st.row.Export = nil, AccessNone, false
			st.row.Ledger.Gen++
			person := st.row
			sent := len(st.sent)
			switch what {
			case "looked at":
				st.do(Observed{})
				st.finish()
			case "remembered":
				st.sleep(testRules.Fresh + time.Second)
				w := st.publish("node-b", AccessSingle)
				st.finish()
				st.wantReply(w, nil)
				st.wantGranted("node-b")
				return
			case "asked for again":
				w := st.publish("node-b", AccessSingle) // by memory, which is less than Fresh old
				st.finish()
				st.wantReply(w, ErrPrecondition)
			}
			if len(st.sent) != sent || fmt.Sprint(st.row) != fmt.Sprint(person) {
				t.Fatalf("wrote %+v over %+v", st.sent[sent:], person)
			}
		})
	}
}

func TestFenceAndRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := grantedVolume(testVolume, "node-a", "node-b")
		shared.Ledger.Fencing = FencingHost
		h := newHouse(t, shared, grantedVolume(otherVolume, "node-a"))
		h.stop()
		o := &fakeOrchestrator{live: map[NodeID]error{"node-a": fmt.Errorf("in use: %w", ErrPrecondition)}, word: Migration{}}
		o.wanted = map[VolumeID][]NodeID{testVolume: {"node-a", "node-b"}, otherVolume: {"node-a"}}
		h.orchestrator = o
		h.open()
		defer h.stop()
		ctx := context.Background()
		if _, err := h.Release(ctx, otherVolume, "node-a"); !errors.Is(err, ErrPrecondition) || kinds(err) != 1 {
			t.Fatalf("released one that is in use: %v", err)
		}
		if _, err := h.Fence(ctx, testVolume, "node-b", ""); !errors.Is(err, ErrInvalid) {
			t.Fatalf("fenced without a reason: %v", err)
		}
		if n := len(h.box.writes); n != 0 {
			t.Fatalf("%d writes", n)
		}
		v, err := h.Fence(ctx, testVolume, "node-b", "a person says so")
		if err != nil || len(v.Ledger.Grants) != 1 || !isBounce(h.box.writes[0]) {
			t.Fatalf("fenced as %+v, %v by %+v", v, err, h.box.writes)
		}
		o.mu.Lock()
		delete(o.live, "node-a")
		o.mu.Unlock()
		if v, err = h.Release(ctx, otherVolume, "node-a"); err != nil || len(v.Ledger.Grants) != 0 || v.Export {
			t.Fatalf("released as %+v, %v", v, err)
		}
		if got := h.told.kinds(); got[len(got)-1] != StaleCleared {
			t.Fatalf("told %v", got)
		}
	})
}

// TestOnDemandNothingElseIsTouched: neither another volume's migration whose time is over, nor a grant that
// nobody wants.
func TestOnDemandNothingElseIsTouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := newFakeBox(grantedVolume(testVolume, "node-a", "node-b"), grantedVolume(otherVolume, "node-a"))
		s, err := New(Config{
			Box: box, Nodes: &fakeNodes{}, Cluster: testCluster, CommandTimeout: 10 * time.Second,
			Orchestrator: &fakeOrchestrator{}, OnDemand: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(2 * time.Hour)
		if reads, writes := box.counts(); reads+writes != 0 {
			t.Errorf("%d reads, %d writes", reads, writes)
		}
		if _, err := s.Release(ctx, otherVolume, "node-a"); err != nil {
			t.Error(err)
		}
		if _, writes := box.counts(); writes != 1 {
			t.Errorf("%d writes", writes)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestFrozenNothingIsRevokedByItself, and it goes on without a restart.
func TestFrozenNothingIsRevokedByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, grantedVolume(testVolume, "node-a"))
		h.stop()
		h.orchestrator = &fakeOrchestrator{}
		var thawed atomic.Bool
		h.frozen = func(context.Context) error {
			if thawed.Load() {
				return nil
			}
			return errors.New("a person says so")
		}
		h.open()
		defer h.stop()
		time.Sleep(5 * time.Minute)
		if len(h.box.row(testVolume).Ledger.Grants) != 1 || h.Stats().StaleHeld != 1 {
			t.Fatalf("frozen: %+v, %d held", h.box.row(testVolume), h.Stats().StaleHeld)
		}
		// It was suspected before it was frozen.
		h.tell(testVolume, func(n *news) { n.suspects = &Suspected{Nodes: []NodeID{"node-a"}} })
		time.Sleep(time.Second)
		if _, writes := h.box.counts(); writes != 0 {
			t.Fatalf("%d writes while frozen", writes)
		}
		thawed.Store(true)
		time.Sleep(5 * time.Minute)
		if len(h.box.row(testVolume).Ledger.Grants) != 0 || h.Stats().StaleHeld != 0 {
			t.Fatalf("thawed: %+v, %d held", h.box.row(testVolume), h.Stats().StaleHeld)
		}
	})
}

// TestADoubtfulTakeOverWritesNothingForTheOtherCluster: a detach that comes while it is not known whose the
// row is waits until it is.
func TestADoubtfulTakeOverWritesNothingForTheOtherCluster(t *testing.T) {
	st := newForeignStage(t, FencingEpoch, AccessSingle, Grant{"node-x", 9})
	st.takeOver(true)
	for len(st.sent) == 0 {
		st.answer()
	}
	st.lose(1) // it landed
	w := st.unpublish("node-x", "")
	st.settle()
	st.wantReply(w, nil)
	for _, sent := range st.sent {
		if c := sent.last().Ledger.Cluster; c != testCluster {
			t.Fatalf("wrote the ledger of cluster %s", c)
		}
	}
	st.wantGranted()
}
