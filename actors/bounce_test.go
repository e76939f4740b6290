// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"slices"
	"testing"
	"time"
)

func TestAnOwedBounceSurvivesACrash(t *testing.T) {
	st := newStage(t, FencingHost)
	st.attach(AccessShared, "node-a", "node-b")
	w := st.unpublish("node-a", "gone")
	st.lose(0)
	st.wantReply(w, ErrUnresolved)
	st.finish() // the survivor is served, the bounce is owed
	n := len(st.sent)
	st.lost = nil
	st.crash()
	w = st.unpublish("node-a", "gone")
	st.settle()
	st.wantReply(w, nil)
	st.wantBounced(n)
}

// wantBounced fails unless the export was bounced since the first n writes.
func (st *stage) wantBounced(n int) {
	st.t.Helper()
	if !slices.ContainsFunc(st.sent[n:], isBounce) {
		st.t.Fatal("answered success although no bounce has ended the connection that the lost node has or may have made anew")
	}
}

// A process that has just started writes the lost node off at once, and bounces the export when nothing that an earlier
// one has sent can land any more.
func TestAFirstBounceThatIsOwedSurvivesACrash(t *testing.T) {
	st := newStage(t, FencingHost)
	st.attach(AccessShared, "node-a", "node-b")
	for range 2 {
		st.crash()
		st.unpublish("node-a", "gone")
		st.finish()
	}
	n := len(st.sent)
	w := st.unpublish("node-a", "gone")
	st.settle()
	st.wantReply(w, nil)
	st.wantBounced(n)
}

// The box may refuse to take the export off and yet turn on what is on: what its row shows then is no fence.
func TestHalfABounceIsNone(t *testing.T) {
	st := newStage(t, FencingHost)
	st.attach(AccessShared, "node-a", "node-b")
	st.unpublish("node-a", "gone")
	w, _ := writeOf(st.pending)
	st.land(w.Rows[1]) // and then the process died
	st.crash()
	n := len(st.sent)
	again := st.unpublish("node-a", "gone")
	st.settle()
	st.wantReply(again, nil)
	st.wantBounced(n)
}

func TestARefusedBounceFencesNobody(t *testing.T) {
	st := newStage(t, FencingHost)
	st.attach(AccessShared, "node-a", "node-b")
	st.unpublish("node-a", "gone")
	st.lose(0)
	st.finish()
	w := st.unpublish("node-a", "gone")
	for range 5 {
		st.now = st.s.Deadline()
		st.do(Tick{})
		for st.pending != nil {
			if w, ok := writeOf(st.pending); ok && isBounce(w) {
				st.fail(ErrPrecondition)
			} else {
				st.answer()
			}
		}
	}
	if r, ok := st.replies[w]; !ok || r.Err == nil {
		t.Fatalf("answered %v (%+v)", ok, r)
	}
	w = st.unpublish("node-a", "gone")
	st.settle()
	st.wantReply(w, nil)
	if last := st.sent[len(st.sent)-1]; !isBounce(last) {
		t.Fatalf("answered success after %+v", last)
	}
	st.wantIdle()
}

func TestARowThatLandsAfterTheBounceIsBouncedOffToo(t *testing.T) {
	st := newStage(t, FencingHost)
	st.attach(AccessShared, "node-a", "node-b")
	st.now = st.s.Deadline()
	st.do(Tick{})
	st.answer() // the row is read again
	st.lose(0)  // the ledger's entry of the timeout
	w := st.unpublish("node-a", "gone")
	st.finish()   // bounced
	st.landLate() // and the lost node is allowed again
	n := len(st.sent)
	st.settle()
	st.wantReply(w, nil)
	st.wantBounced(n)
}

func TestTheLastDetachWaitsForNoBounce(t *testing.T) {
	st := newStage(t, FencingHost)
	st.attach(AccessShared, "node-a", "node-b")
	st.unpublish("node-a", "gone")
	st.lose(0)
	st.finish()
	w := st.unpublish("node-b", "")
	st.finish()
	if st.row.Export {
		t.Fatal("exported to nobody, for the sake of a bounce")
	}
	st.sleep(testRules.CommandTimeout)
	st.wantReply(w, nil)
}

func TestNobodyIsBouncedForARowThatLetNobodyIn(t *testing.T) {
	for _, fencing := range []Fencing{FencingEpoch, FencingHost} {
		st := newStage(t, fencing)
		st.attach(AccessShared, "node-a", "node-b")
		older := st.row
		st.sleep(301 * time.Second) // the timeout's entry
		st.row = older
		st.do(Observed{})
		n := len(st.sent)
		st.settle()
		for _, w := range st.sent[n:] {
			if len(w.Rows) != 1 {
				t.Fatalf("%v: the export of a running VM was bounced: %+v", fencing, w)
			}
		}
	}
}

func TestSurvivorsOfARebootAreNotBouncedAtOnce(t *testing.T) {
	st := newStage(t, FencingHost)
	st.attach(AccessShared, "node-a", "node-b")
	older := st.row
	st.unpublish("node-a", "gone")
	st.finish()
	st.now = st.now.Add(time.Hour)
	st.row = older
	st.do(Observed{})
	st.finish()
	if !st.row.Export || st.row.AllowHost == "" {
		t.Fatalf("the box shows %+v", st.row)
	}
	if w := st.sent[len(st.sent)-1]; len(w.Rows) != 1 {
		t.Fatal("bounced while the survivor may be reconnecting")
	}
	at := st.now
	st.settle()
	last := st.sent[len(st.sent)-1]
	if !isBounce(last) || st.now.Sub(at) < testRules.BounceGap {
		t.Fatalf("after %v: %+v", st.now.Sub(at), last)
	}
	st.wantGranted("node-b")
}

func TestAnOldEpochIsBouncedAwayAtOnce(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	older := st.row
	st.unpublish("node-a", "")
	st.finish()
	st.attach(AccessSingle, "node-b")
	st.row = older
	st.do(Observed{})
	st.answer() // the read
	if w, _ := writeOf(st.pending); !isBounce(w) || w.Rows[0].Export || w.last().NQN == older.NQN {
		t.Fatalf("the hosts of an old epoch are met by %+v", w)
	}
	st.settle()
	st.wantGranted("node-b")
}

// While two nodes have the volume its ledger leaves a prefix to the row, which shows it unless the export
// is off: a crash in a bounce must not lose it.
func TestAnExportThatIsOffForTwoNodesHasItsPrefixOnRecord(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.row.NQN = NQN("nqn.2024-01.io.example", testVolume, 0)
	st.attach(AccessShared, "node-a")
	older := st.row
	st.unpublish("node-a", "")
	st.finish()
	st.attach(AccessShared, "node-b", "node-c")
	if l := st.row.Ledger; l.Prefix != prefixShown {
		t.Fatalf("two nodes are granted by %s", l)
	}
	nqn := st.row.NQN
	st.row = older
	st.do(Observed{})
	st.answer() // the read
	st.lose(1)
	if l := st.row.Ledger; st.row.Export || len(l.Grants) != 2 || l.NQN(testVolume) != nqn {
		t.Fatalf("off for a bounce, the box shows %+v", st.row)
	}
	st.restart(testRules)
	st.do(Observed{})
	st.settle()
	if !st.row.Export || st.row.NQN != nqn {
		t.Fatalf("after the bounce the box shows %+v, want NQN %s", st.row, nqn)
	}
}
