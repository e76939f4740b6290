// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A fakeOrchestrator answers from memory.
type fakeOrchestrator struct {
	mu      sync.Mutex
	wanted  map[VolumeID][]NodeID
	lagging error // of Wanted
	live    map[NodeID]error
	word    Migration
	asked   []string
}

func (o *fakeOrchestrator) note(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, what)
}

func (o *fakeOrchestrator) Wanted() (map[VolumeID][]NodeID, error) {
	o.note("wanted")
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.wanted), o.lagging
}

func (o *fakeOrchestrator) Stale(_ context.Context, _ VolumeID, node NodeID) (string, error) {
	o.note("stale " + string(node))
	o.mu.Lock()
	defer o.mu.Unlock()
	return "", o.live[node]
}

func (o *fakeOrchestrator) Admit(_ context.Context, _ VolumeID, holder, target NodeID, _ Policy) error {
	o.note(fmt.Sprintf("admit %s beside %s", target, holder))
	return nil
}

func (o *fakeOrchestrator) Migration(_ context.Context, _ VolumeID, source, target NodeID) (Migration, error) {
	o.note(fmt.Sprintf("migration from %s to %s", source, target))
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.word, nil
}

func (o *fakeOrchestrator) Adopt(context.Context, VolumeID) (Adoption, error) {
	o.note("adopt")
	return Adoption{}, fmt.Errorf("no PersistentVolume: %w", ErrPrecondition)
}

func (o *fakeOrchestrator) set(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
}

// take returns what was asked since the last take.
func (o *fakeOrchestrator) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer func() { o.asked = nil }()
	return o.asked
}

func grantedVolume(id VolumeID, nodes ...NodeID) Volume {
	v := created(FencingEpoch)
	v.ID, v.Export, v.NQN = id, true, NQN(DefaultNQNPrefix, id, 1)
	v.Ledger.Epoch, v.Ledger.Access = 1, AccessShared
	for i, n := range nodes {
		v.Ledger.Grants = append(v.Ledger.Grants, Grant{n, TokenAt(time.Now()) + Token(i)})
	}
	return v
}

func numberedVolume(n int) VolumeID {
	return VolumeID(fmt.Sprintf("pvc-00000000-0000-4000-8000-%012d", n))
}

func TestLeftoversAreClearedByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &fakeOrchestrator{wanted: map[VolumeID][]NodeID{testVolume: {"node-b"}, otherVolume: {"node-c"}}}
		h := newHouse(t, grantedVolume(testVolume, "node-a", "node-b"), grantedVolume(otherVolume, "node-c"))
		h.stop()
		h.orchestrator = o
		h.open()
		defer h.stop()
		synctest.Wait()
		o.take()
		o.set(func() { o.live, o.word.Verdict = map[NodeID]error{"node-b": errWanted}, VerdictSucceeded })

		h.Recheck()
		time.Sleep(time.Second)
		if got, want := o.take(), []string{"wanted", "migration from node-a to node-b", "stale node-a", "migration from node-a to node-b"}; !slices.Equal(got, want) {
			t.Fatalf("asked %v, want %v", got, want)
		}
		if l := h.box.row(testVolume).Ledger; l.Granted("node-a") || !l.Granted("node-b") {
			t.Fatalf("ledger %v", l)
		}
		if h.Stats().Actors != 1 {
			t.Fatalf("%d actors, want one for the volume with a grant that is left over", h.Stats().Actors)
		}
		// Without a nudge it is found out too, and what is wanted stays.
		o.set(func() { o.wanted = map[VolumeID][]NodeID{testVolume: {"node-b"}} })
		time.Sleep(2 * time.Minute)
		if h.box.row(otherVolume).Ledger.Granted("node-c") || !h.box.row(testVolume).Ledger.Granted("node-b") {
			t.Fatalf("ledgers %v and %v", h.box.row(otherVolume).Ledger, h.box.row(testVolume).Ledger)
		}
	})
}

// TestManyLeftoversWaitForAPerson: so many at once are likelier a fault of what was read.
func TestManyLeftoversWaitForAPerson(t *testing.T) {
	tests := []struct {
		name   string
		left   int
		limit  int
		change func(*fakeOrchestrator)
		clears bool
		held   int
	}{
		{"a few", 3, 0, nil, true, 0},
		{"more than a few", 4, 0, nil, false, 4},
		{"a higher limit", 4, 10, nil, true, 0},
		{"frozen", 1, -1, nil, false, 1},
		{"the cache is not filled", 1, 0, func(o *fakeOrchestrator) { o.lagging = errAway }, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				h.stop()
				o := &fakeOrchestrator{wanted: map[VolumeID][]NodeID{}}
				if tt.change != nil {
					tt.change(o)
				}
				for n := range tt.left {
					h.box.rows[numberedVolume(n)] = grantedVolume(numberedVolume(n), "node-a")
				}
				h.orchestrator, h.staleLimit = o, tt.limit
				h.open()
				defer h.stop()
				time.Sleep(5 * time.Minute)
				for n := range tt.left {
					if cleared := len(h.box.row(numberedVolume(n)).Ledger.Grants) == 0; cleared != tt.clears {
						t.Fatalf("volume %d is cleared: %v, want %v", n, cleared, tt.clears)
					}
				}
				if held := h.Stats().StaleHeld; held != tt.held {
					t.Fatalf("%d held, want %d", held, tt.held)
				}
			})
		})
	}
}

// TestRecheckingIsSpaced: an attach storm does not list the box each time a VolumeAttachment goes.
func TestRecheckingIsSpaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, grantedVolume(testVolume, "node-a"))
		h.stop()
		o := &fakeOrchestrator{wanted: map[VolumeID][]NodeID{testVolume: {"node-a"}}}
		h.orchestrator = o
		h.open()
		defer h.stop()
		for range 100 {
			h.Recheck()
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(o.take()); n < 2 || n > 3 {
			t.Fatalf("%d comparisons in 10 s, want one each 5 s", n)
		}
	})
}

// TestAnOutcomeStartsItsActor: a migration's deadline is KubeVirt's even if nobody asks for the volume.
func TestAnOutcomeStartsItsActor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, grantedVolume(testVolume, "node-a", "node-b"))
		h.stop()
		o := &fakeOrchestrator{word: Migration{Source: "node-a", Target: "node-b", Started: time.Now(), Limit: time.Minute}}
		o.wanted = map[VolumeID][]NodeID{testVolume: {"node-a", "node-b"}}
		h.orchestrator = o
		h.open()
		defer h.stop()
		h.Outcome(testVolume, o.word)
		h.Outcome(otherVolume, Migration{Verdict: VerdictFailed})
		h.Outcome("nonsense", Migration{})
		time.Sleep(59 * time.Second)
		h.wantTold()
		time.Sleep(2 * time.Second)
		h.wantTold(MigrationTimedOut)
		if h.Stats().Actors != 1 {
			t.Fatalf("%d actors", h.Stats().Actors)
		}
	})
}

// TestAPanickingOrchestratorChangesNothing: a question has no outcome that could be in doubt.
func TestAPanickingOrchestratorChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, grantedVolume(testVolume, "node-a"))
		h.stop()
		h.orchestrator = panicking{}
		h.open()
		defer h.stop()
		_, err := h.publish("node-b", AccessShared)
		if kinds(err) != 1 || h.Stats().Unresolved != 0 {
			t.Fatalf("publish answered %v, %d unresolved", err, h.Stats().Unresolved)
		}
	})
}

type panicking struct{ *fakeOrchestrator }

func (panicking) Admit(context.Context, VolumeID, NodeID, NodeID, Policy) error { panic("no") }
