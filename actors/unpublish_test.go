// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"testing"
	"time"
)

func TestUnpublishOfWhatIsNotAttachedWritesNothing(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	writes := len(st.sent)
	w := st.unpublish("node-b", "gone")
	st.finish()
	st.wantReply(w, nil)
	if len(st.sent) != writes {
		t.Fatal("wrote to the box")
	}
	st.wantGranted("node-a")
}

func TestUnpublishOfAVolumeThatIsGone(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.row = Volume{ID: testVolume}
	w := st.unpublish("node-a", "")
	st.finish()
	st.wantReply(w, nil)
}

func TestUnpublishWithoutANodeDetachesAll(t *testing.T) {
	st := newStage(t, FencingHost)
	st.attach(AccessShared, "node-a", "node-b")
	st.told = nil
	w := st.unpublish("", "")
	st.finish()
	st.wantReply(w, nil)
	st.wantGranted()
	if st.row.Export {
		t.Fatal("still exported")
	}
	st.wantTold(Detached, Detached, MigrationFailed)
}

func TestRevokeByFencingMode(t *testing.T) {
	tests := []struct {
		fencing   Fencing
		lost      string
		rows      int
		allowed   bool // the survivor is named in the allow list
		exportOff bool // after the last revoke
	}{
		{FencingEpoch, "", 1, false, true},
		{FencingEpoch, "gone", 1, false, true},
		{FencingHost, "", 1, true, true},
		{FencingHost, "gone", 3, true, true},
		{FencingNone, "gone", 1, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.fencing.String()+" "+tt.lost, func(t *testing.T) {
			st := newStage(t, tt.fencing)
			st.attach(AccessShared, "node-a", "node-b")
			if st.row.AllowHost != "" {
				t.Fatalf("%q is allowed alone while two are attached", st.row.AllowHost)
			}
			st.unpublish("node-a", tt.lost)
			w, _ := writeOf(st.pending)
			if len(w.Rows) != tt.rows {
				t.Fatalf("%d rows written, want %d: %+v", len(w.Rows), tt.rows, w.Rows)
			}
			if tt.rows == 3 && (w.Rows[0].Export || !w.Rows[0].Ledger.Off || w.Rows[0].AllowHost == "" || !w.Rows[1].Export || !w.Rows[1].Ledger.Off) {
				t.Fatalf("the bounce begins with %+v", w.Rows[:2])
			}
			st.finish()
			st.wantGranted("node-b")
			survivor := HostOf(testCluster, "node-b").NQN
			if !st.row.Export || st.row.Ledger.Off || (st.row.AllowHost == survivor) != tt.allowed {
				t.Fatalf("after the revoke: %+v", st.row)
			}
			st.unpublish("node-b", tt.lost)
			st.finish()
			if st.row.Export == tt.exportOff {
				t.Fatalf("export %v after the last revoke", st.row.Export)
			}
		})
	}
}

func TestHostFencingNamesTheOnlyHost(t *testing.T) {
	st := newStage(t, FencingHost)
	st.attach(AccessShared, "node-a")
	if want := HostOf(testCluster, "node-a").NQN; st.row.AllowHost != want {
		t.Fatalf("allowed %q, want %q", st.row.AllowHost, want)
	}
}

func TestBouncesAreFarApart(t *testing.T) {
	st := newStage(t, FencingHost)
	st.attach(AccessShared, "node-a", "node-b")
	st.unpublish("node-a", "gone")
	st.finish()
	st.attach(AccessShared, "node-c")

	writes := len(st.sent)
	w := st.unpublish("node-c", "gone")
	st.finish()
	st.wantReply(w, ErrUnavailable)
	if len(st.sent) != writes {
		t.Fatal("bounced again while the survivor may be reconnecting")
	}
	st.wantGranted("node-b", "node-c")

	st.sleep(testRules.BounceGap)
	w = st.unpublish("node-c", "gone")
	st.finish()
	st.wantReply(w, nil)
	st.wantGranted("node-b")
}

func TestABounceCutShortIsFinishedByTheRebuild(t *testing.T) {
	st := newStage(t, FencingHost)
	st.attach(AccessShared, "node-a", "node-b")
	st.unpublish("node-a", "gone")
	w, _ := writeOf(st.pending)
	st.land(w.Rows[0]) // and then the process died

	st.restart(testRules)
	st.do(Observed{})
	st.settle()
	if !st.row.Export || st.row.Ledger.Off || st.row.AllowHost != HostOf(testCluster, "node-b").NQN {
		t.Fatalf("after the rebuild: %+v", st.row)
	}
	st.wantGranted("node-b")
	st.wantIdle()
}

func TestUnpublishFailsWhileTheBoxIsAway(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	w := st.unpublish("node-a", "")
	st.fail(ErrUnavailable)
	st.finish()
	st.wantReply(w, ErrUnavailable)
	st.wantGranted("node-a")
	w = st.unpublish("node-a", "")
	st.finish()
	st.wantReply(w, nil)
	st.sleep(time.Minute)
	st.wantIdle()
}

func TestARetryThatLearntOfALostNodeFencesIt(t *testing.T) {
	st := newStage(t, FencingHost)
	st.attach(AccessShared, "node-a", "node-b")
	st.exclusive(OpExpand, "2")
	st.unpublish("node-a", "")
	w := st.unpublish("node-a", "gone")
	st.finish()
	st.wantReply(w, nil)
	if last := st.sent[len(st.sent)-1]; !isBounce(last) {
		t.Fatalf("revoked by %+v", last)
	}
}
