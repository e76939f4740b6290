// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"strings"
	"testing"
	"time"
)

func TestFirstGrantExportsUnderANewEpoch(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	st.wantGranted("node-a")
	st.wantTold(Attached)
	first := st.row
	if !first.Export || first.NQN != NQN(testPrefix, testVolume, first.Ledger.Epoch) || first.Ledger.Epoch == 0 {
		t.Fatalf("row after the first grant: %+v", first)
	}
	if w := st.unpublish("node-a", ""); st.pending == nil {
		t.Fatal("no revoke")
	} else {
		st.finish()
		st.wantReply(w, nil)
	}
	if st.row.Export {
		t.Fatal("exported after the last revoke")
	}
	st.attach(AccessSingle, "node-b")
	if st.row.Ledger.Epoch <= first.Ledger.Epoch || st.row.NQN == first.NQN {
		t.Fatalf("the epoch was used again: %v after %v", st.row.Ledger.Epoch, first.Ledger.Epoch)
	}
}

func TestEpochIsNewEvenIfTheClockStandsStill(t *testing.T) {
	st := newStage(t, FencingEpoch)
	seen := map[Token]bool{}
	for range 3 {
		w := st.publish("node-a", AccessSingle)
		st.finish()
		st.wantReply(w, nil)
		if seen[st.row.Ledger.Epoch] {
			t.Fatalf("epoch %v twice", st.row.Ledger.Epoch)
		}
		seen[st.row.Ledger.Epoch] = true
		st.unpublish("node-a", "")
		st.finish()
	}
}

func TestRepeatedPublishWritesNothing(t *testing.T) {
	st := newStage(t, FencingHost)
	st.attach(AccessShared, "node-a")
	writes := len(st.sent)
	w := st.publish("node-a", AccessShared)
	st.finish()
	st.wantReply(w, nil)
	if len(st.sent) != writes {
		t.Fatalf("%d writes for a repeated publish", len(st.sent)-writes)
	}
	if got := st.replies[w].Volume; !got.shows(rowOf(st.row)) {
		t.Fatalf("answered %+v, the box shows %+v", got, st.row)
	}
}

// A ledger of before ports were recorded is no reason to write.
func TestRepeatedPublishOfALedgerWithoutAPortWritesNothing(t *testing.T) {
	st := newStage(t, FencingHost)
	st.attach(AccessShared, "node-a")
	st.row.Ledger.Port = 0
	st.do(Observed{})
	writes := len(st.sent)
	w := st.publish("node-a", AccessShared)
	st.finish()
	st.wantReply(w, nil)
	if len(st.sent) != writes {
		t.Fatalf("%d writes for a repeated publish", len(st.sent)-writes)
	}
}

// A port that somebody changed is the volume's from then on, and on record.
func TestRepeatedPublishRecordsAnotherPort(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	st.row.Port = 4421
	st.do(Observed{})
	w := st.publish("node-a", AccessSingle)
	st.finish()
	st.wantReply(w, nil)
	if got := st.replies[w].Volume; got.Port != 4421 || got.Ledger.Port != 4421 || st.row.Ledger.Port != 4421 {
		t.Fatalf("answered %+v, the box shows %+v", got, st.row)
	}
}

// hide has the box show what a box does that hides the NQN and the port of an export that is off.
func (st *stage) hide() {
	st.row.Export, st.row.AllowHost = false, ""
	st.row.NQN, st.row.Port = st.row.Ledger.NQN(testVolume), st.row.Ledger.Port
	st.do(Observed{})
	st.finish()
}

// Somebody turned the export off on a box that hides its NQN then: it comes back as it was, or not at all.
func TestPublishOfAnExportThatSomebodyTurnedOffAndTheBoxHides(t *testing.T) {
	for _, prefix := range []string{DefaultNQNPrefix, "nqn.2024-01.io.example:rds/box-1"} {
		st := newStage(t, FencingHost)
		st.row.NQN = NQN(prefix, testVolume, 0)
		st.attach(AccessShared, "node-a")
		nqn := st.row.NQN
		st.hide()
		w := st.publish("node-a", AccessShared)
		st.finish()
		st.wantReply(w, nil)
		if !st.row.Export || st.row.NQN != nqn || st.row.Port != 4420 {
			t.Fatalf("prefix %s: mended to %+v, want NQN %s", prefix, st.row, nqn)
		}
		st.attach(AccessShared, "node-b")
		st.hide()
		w = st.publish("node-b", AccessShared)
		st.finish()
		if prefix != DefaultNQNPrefix {
			st.wantReply(w, ErrPrecondition)
			if msg := st.replies[w].Err.Error(); !strings.Contains(msg, "turn that on") {
				t.Fatalf("the answer is %s, which does not say what to do", msg)
			}
			continue
		}
		st.wantReply(w, nil)
		if !st.row.Export || st.row.NQN != nqn {
			t.Fatalf("mended to %+v, want NQN %s", st.row, nqn)
		}
	}
}

func TestRepeatedPublishMendsARowThatSomebodyChanged(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	st.row.Export = false
	st.do(Observed{})
	st.finish()
	w := st.publish("node-a", AccessSingle)
	st.finish()
	st.wantReply(w, nil)
	if !st.row.Export {
		t.Fatal("answered success for a volume that is not exported")
	}
}

func TestExclusion(t *testing.T) {
	tests := []struct {
		name    string
		granted []NodeID
		held    Access
		node    NodeID
		asked   Access
		want    error
	}{
		{"RWO second node", []NodeID{"node-a"}, AccessSingle, "node-b", AccessSingle, ErrPrecondition},
		{"RWO same node, other mode", []NodeID{"node-a"}, AccessSingle, "node-a", AccessShared, ErrExists},
		{"ROX third node", []NodeID{"node-a", "node-b"}, AccessReader, "node-c", AccessReader, nil},
		{"ROX beside a writer", []NodeID{"node-a"}, AccessSingle, "node-b", AccessReader, ErrPrecondition},
		{"writer beside ROX", []NodeID{"node-a"}, AccessReader, "node-b", AccessSingle, ErrPrecondition},
		{"RWX beside RWO", []NodeID{"node-a"}, AccessSingle, "node-b", AccessShared, ErrPrecondition},
		{"RWX second node", []NodeID{"node-a"}, AccessShared, "node-b", AccessShared, nil},
		{"RWX third node", []NodeID{"node-a", "node-b"}, AccessShared, "node-c", AccessShared, ErrPrecondition},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := newStage(t, FencingEpoch)
			st.attach(tt.held, tt.granted...)
			writes := len(st.sent)
			w := st.publish(tt.node, tt.asked)
			st.finish()
			st.wantReply(w, tt.want)
			if tt.want != nil {
				st.wantGranted(tt.granted...)
				if len(st.sent) != writes {
					t.Fatal("a refused publish wrote to the box")
				}
			}
		})
	}
}

func TestConflictIsToldOnceNotOncePerRetry(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	st.wantTold(Attached)
	for range 3 {
		st.wantReply(st.publish("node-b", AccessSingle), ErrPrecondition)
	}
	// By the holder's grant another process tells this conflict from an earlier one between the two.
	if grant := st.row.Ledger.Grants[0].At; len(st.told) > 0 && st.told[0].Grant != grant {
		t.Errorf("told %+v, want it to be of grant %v", st.told[0], grant)
	}
	st.wantTold(Conflict)
	// When the holder has changed, a conflict is news again.
	st.unpublish("node-a", "")
	st.finish()
	st.attach(AccessSingle, "node-c")
	st.told = nil
	st.wantReply(st.publish("node-b", AccessSingle), ErrPrecondition)
	st.wantTold(Conflict)
}

func TestPublishOfARowThatIsNotOurs(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Volume)
		want   error
	}{
		{"no row", func(v *Volume) { *v = Volume{ID: testVolume} }, ErrNotFound},
		{"no ledger", func(v *Volume) { v.Ours, v.Ledger = false, Ledger{} }, ErrPrecondition},
		{"another cluster's", func(v *Volume) { v.Ledger.Cluster = "ba9876543210" }, ErrPrecondition},
		{"an NQN that does not name it", func(v *Volume) { v.NQN = "nqn.2000-02.com.example:other" }, ErrPrecondition},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := newStage(t, FencingEpoch)
			tt.change(&st.row)
			w := st.publish("node-a", AccessSingle)
			st.finish()
			st.wantReply(w, tt.want)
			if len(st.sent) != 0 {
				t.Fatalf("wrote %+v", st.sent)
			}
		})
	}
}

func TestRequestsWaitForTheRow(t *testing.T) {
	st := newStage(t, FencingEpoch)
	w := st.publish("node-a", AccessSingle)
	if _, ok := st.pending.(ReadRow); !ok {
		t.Fatalf("%#v in flight, want the row to be read first", st.pending)
	}
	st.wantNoReply(w)
	st.fail(ErrUnavailable)
	st.wantReply(w, ErrUnavailable)
	st.wantIdle()
}

func TestAnOldRowIsReadAgain(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	st.sleep(testRules.Fresh + time.Second)
	st.publish("node-a", AccessSingle)
	if _, ok := st.pending.(ReadRow); !ok {
		t.Fatalf("%#v in flight, want the row to be read again", st.pending)
	}
	st.finish()
}

func TestRefusedGrantLeavesNothing(t *testing.T) {
	st := newStage(t, FencingEpoch)
	w := st.publish("node-a", AccessSingle)
	st.answer() // the read
	st.fail(ErrPrecondition)
	st.finish()
	st.wantReply(w, ErrPrecondition)
	st.wantGranted()
	st.wantTold()
	st.wantIdle()
}

func TestAnExportWithoutAGrantEndsBeforeTheFirstGrant(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.row.Export = true
	st.publish("node-a", AccessSingle)
	st.answer()
	w, _ := writeOf(st.pending)
	if len(w.Rows) != 2 || w.Rows[0].Export || w.Rows[0].NQN != st.row.NQN || len(w.Rows[0].Ledger.Grants) != 0 {
		t.Fatalf("the grant begins with %+v", w.Rows)
	}
	st.finish()
	st.wantGranted("node-a")
}

// The clock may go back to the very millisecond of a grant whose answer was lost.
func TestTheEpochOfALostGrantIsNotUsedAgain(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.publish("node-a", AccessSingle)
	st.answer() // the read
	lost := st.sent[0].last().Ledger.Epoch
	st.lose(0)
	st.settle()
	st.now = lost.Time()
	st.attach(AccessSingle, "node-a")
	if st.row.Ledger.Epoch <= lost {
		t.Fatalf("epoch %v after %v was lost", st.row.Ledger.Epoch, lost)
	}
}

// A refusal may be of a write that another one overtook: what is remembered is in doubt.
func TestTheRowIsReadAgainAfterARefusal(t *testing.T) {
	st := newStage(t, FencingEpoch)
	refused := func() {
		t.Helper()
		st.fail(ErrUnavailable)
		if _, ok := st.pending.(ReadRow); !ok {
			t.Fatalf("%#v in flight, want the row to be read again", st.pending)
		}
		st.finish()
	}
	st.publish("node-a", AccessSingle)
	st.answer() // the first read
	refused()
	st.attach(AccessSingle, "node-a")
	st.unpublish("node-a", "")
	refused()
}

func TestWhatIsObservedMeanwhileIsLookedAtAfterwards(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.publish("node-a", AccessSingle)
	st.answer() // the read
	st.do(Observed{})
	st.answer() // the grant
	if _, ok := st.pending.(ReadRow); !ok {
		t.Fatalf("%#v in flight, want the row to be read again", st.pending)
	}
	if st.s.Idle() {
		t.Fatal("idle with a read in flight")
	}
	st.finish()
	st.wantIdle()
}
