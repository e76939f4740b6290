// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"fmt"
	"testing"
	"time"
)

var errWanted = fmt.Errorf("VolumeAttachment is there: %w", ErrPrecondition)

func TestAStaleGrantIsConfirmedBeforeItIsRevoked(t *testing.T) {
	tests := []struct {
		name string
		live error
		want []NodeID
		told []AnnouncementKind
	}{
		{"stale", nil, nil, []AnnouncementKind{StaleCleared}},
		{"the cache lagged", errWanted, []NodeID{"node-a"}, nil},
		{"cannot be told", errAway, []NodeID{"node-a"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := newOrchestratedStage(t, FencingEpoch)
			st.attach(AccessSingle, "node-a")
			st.told = nil
			st.cluster.stale = map[NodeID]error{"node-a": tt.live}
			st.do(Suspected{Nodes: []NodeID{"node-a", "node-b"}})
			st.finish()
			st.wantGranted(tt.want...)
			st.wantTold(tt.told...)
			if len(st.cluster.asked) != 1 {
				t.Fatalf("asked %+v, want node-a alone, which is granted", st.cluster.asked)
			}
			st.sleep(time.Hour)
			st.wantIdle()
		})
	}
}

// TestClearingOneKeepsTheOther: the source is left over, the target lives, and the other way round.
func TestClearingOneKeepsTheOther(t *testing.T) {
	for gone, stays := range map[NodeID]NodeID{"node-a": "node-b", "node-b": "node-a"} {
		t.Run(string(gone), func(t *testing.T) {
			st := newOrchestratedStage(t, FencingHost)
			st.attach(AccessShared, "node-a", "node-b")
			st.told = nil
			st.cluster.stale = map[NodeID]error{stays: errWanted}
			st.cluster.lost = "node object is gone"
			st.cluster.silence = fmt.Errorf("none: %w", ErrNotFound)
			before := st.row.Ledger.Grants[st.row.Ledger.grant(stays)]
			st.do(Suspected{Nodes: []NodeID{"node-a", "node-b"}})
			st.finish()
			st.wantGranted(stays)
			if st.row.Ledger.Grants[0] != before {
				t.Fatalf("the grant of %s became %+v", stays, st.row.Ledger.Grants[0])
			}
			outcome := MigrationCompleted
			if gone == "node-b" {
				outcome = MigrationFailed
			}
			st.wantTold(StaleCleared, outcome)
			if st.row.Ledger.Bounce == 0 {
				t.Fatal("a node that is gone keeps its connection: the export was not bounced")
			}
		})
	}
}

// TestAPublishMeanwhileGrantsAnew: the VolumeAttachment came back while its absence was being confirmed.
func TestAPublishMeanwhileGrantsAnew(t *testing.T) {
	st := newOrchestratedStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	old := st.row
	st.do(Suspected{Nodes: []NodeID{"node-a"}})
	w := st.publish("node-a", AccessSingle)
	st.wantNoReply(w)
	st.finish()
	st.wantReply(w, nil)
	st.wantGranted("node-a")
	if st.row.NQN == old.NQN || st.replies[w].Volume.NQN != st.row.NQN {
		t.Fatalf("answered %s, the box shows %s, before %s", st.replies[w].Volume.NQN, st.row.NQN, old.NQN)
	}
}

// TestSuspicionsWaitForCertainty: nothing is cleared while a write is unresolved.
func TestSuspicionsWaitForCertainty(t *testing.T) {
	st := newOrchestratedStage(t, FencingEpoch)
	st.attach(AccessShared, "node-a")
	st.publish("node-b", AccessShared)
	st.answer() // admitted
	st.lose(0)
	st.cluster.asked = nil
	st.do(Suspected{Nodes: []NodeID{"node-a"}})
	for st.s.Unresolved() {
		if len(st.cluster.asked) > 0 {
			t.Fatal("asked about a stale grant while a write is unresolved")
		}
		st.finish()
		st.now = st.s.Deadline()
		st.do(Tick{})
	}
	st.finish()
	st.wantGranted()
}

// TestSuspicionsAreReplaced: the latest word counts.
func TestSuspicionsAreReplaced(t *testing.T) {
	st := newOrchestratedStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	st.publish("node-b", AccessSingle) // refused; its read is not needed
	w := st.exclusive(OpExpand, "")
	st.do(Suspected{Nodes: []NodeID{"node-a"}})
	st.do(Suspected{})
	st.finish()
	st.wantReply(w, nil)
	st.wantGranted("node-a")
}
