// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestNothingIsGrantedWhileAWriteIsUnresolved(t *testing.T) {
	st := newStage(t, FencingEpoch)
	w := st.publish("node-a", AccessSingle)
	st.answer() // the read
	lost := st.sent[0].last().Ledger.Gen
	st.lose(0)
	st.wantReply(w, ErrUnresolved)
	if got, _ := writeOf(st.pending); got.last().Ledger.Gen <= lost {
		t.Fatalf("gen %d after %d was lost", got.last().Ledger.Gen, lost)
	}

	w = st.publish("node-b", AccessSingle)
	expand := st.exclusive(OpExpand, "2")
	st.finish() // the row is written again and acknowledged, but the lost write may land yet
	st.wantReply(w, ErrUnavailable)
	st.wantReply(expand, ErrUnavailable)
	st.wantReply(st.publish("node-b", AccessSingle), ErrUnavailable)
	st.sleep(testRules.CommandTimeout)
	st.wantGranted()
	st.attach(AccessSingle, "node-b")
	st.wantTold(Attached)
}

func TestALostGrantThatLandsLateIsTakenBack(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.publish("node-a", AccessSingle)
	st.answer()
	st.lose(0)
	st.finish()
	st.landLate() // over the row that was written since
	st.wantGranted("node-a")
	st.settle()
	st.wantGranted()
	if st.row.Export {
		t.Fatal("exported to a node that was never told")
	}
	// The epoch of the lost grant is burnt.
	burnt := st.s.epoch
	st.attach(AccessSingle, "node-a")
	if st.row.Ledger.Epoch <= burnt {
		t.Fatal("the epoch of a lost grant was used again")
	}
}

// An unpublish must not answer success while a lost grant of another node may still land and bring
// back a row in which the node has its right.
func TestUnpublishWaitsForTheSettlement(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessShared, "node-a")
	st.publish("node-b", AccessShared)
	st.lose(0)
	w := st.unpublish("node-a", "")
	st.finish()
	st.wantNoReply(w)
	again := st.unpublish("node-a", "")
	if st.joined[again] != w {
		t.Fatal("the retry did not join")
	}
	st.landLate()
	st.wantGranted("node-a", "node-b")
	st.settle()
	st.wantReply(w, nil)
	st.wantReply(again, nil)
	st.wantGranted()
	if st.row.Export {
		t.Fatal("exported after an unpublish that answered success")
	}
	st.wantTold(Attached, Detached)
	st.wantIdle()
}

func TestUnpublishAlwaysWritesWhileUnresolved(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	w := st.unpublish("node-a", "")
	st.lose(1) // it landed, but nobody knows
	st.wantReply(w, ErrUnresolved)
	st.fail(ErrUnavailable) // and the box is away
	writes := len(st.sent)
	w = st.unpublish("node-a", "")
	if len(st.sent) != writes+1 {
		t.Fatal("the retry did not write")
	}
	st.finish()
	st.wantNoReply(w)
	st.settle()
	st.wantReply(w, nil)
	st.wantGranted()
}

// A bounce whose answers were lost may have happened or not. The survivor is served at once; the
// lost node counts as fenced only after another bounce, far enough from the first.
func TestALostBounceIsRepeated(t *testing.T) {
	for landed := range 3 {
		st := newStage(t, FencingHost)
		st.attach(AccessShared, "node-a", "node-b")
		w := st.unpublish("node-a", "gone")
		st.lose(landed)
		st.wantReply(w, ErrUnresolved)
		st.finish()
		if !st.row.Export {
			t.Fatalf("%d rows landed: the survivor is not served", landed)
		}
		w = st.unpublish("node-a", "gone")
		st.sleep(testRules.BounceGap - time.Second)
		st.wantNoReply(w)
		st.sleep(2 * time.Second)
		bounced := st.sent[len(st.sent)-1]
		if !isBounce(bounced) {
			t.Fatalf("%d rows landed: no second bounce, but %+v", landed, bounced)
		}
		st.settle()
		st.wantReply(w, nil)
		st.wantGranted("node-b")
	}
}

// A lost node that is asked off while a write is unresolved is bounced off, but not before nothing that
// was lost can land any more: between the two rows of a bounce it would let the node back in, and what is
// read back would look right.
func TestALostNodeIsBouncedOffWhenNothingCanLandAnyMore(t *testing.T) {
	for name, unresolve := range map[string]func(*stage){
		"this process lost a write": func(st *stage) {
			st.now = st.s.Deadline()
			st.do(Tick{})
			st.answer() // the row is read again
			st.lose(0)  // the ledger's entry of the timeout
			st.finish()
		},
		"an earlier process lost a write": func(st *stage) {
			st.crash()
			st.do(Observed{})
			st.finish()
		},
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t, FencingHost)
			st.attach(AccessShared, "node-a", "node-b")
			unresolve(st)
			began := st.now
			w := st.unpublish("node-a", "gone")
			st.finish()
			if st.row.Ledger.Granted("node-a") || st.row.AllowHost != hostOf("node-b") {
				t.Fatalf("a lost node is asked off, the box shows %+v", st.row)
			}
			st.sleep(testRules.CommandTimeout - time.Second)
			for _, sent := range st.sent {
				if isBounce(sent) {
					t.Fatalf("bounced %v after a write was lost: %+v", st.now.Sub(began), sent)
				}
			}
			st.wantNoReply(w)
			st.settle()
			if last := st.sent[len(st.sent)-1]; !isBounce(last) {
				t.Fatalf("a lost node was revoked by %+v", last)
			}
			st.wantReply(w, nil)
			st.wantGranted("node-b")
		})
	}
}

// The box came back from a reboot without its last seconds of configuration.
func TestAnOlderRowIsNotBelieved(t *testing.T) {
	st := newStage(t, FencingHost)
	st.attach(AccessShared, "node-a")
	older := st.row
	st.attach(AccessShared, "node-b")
	st.unpublish("node-a", "")
	st.finish()
	newest := st.row
	st.row = older
	st.do(Observed{})
	st.settle()
	st.wantGranted("node-b")
	if !st.row.Export || st.row.NQN != newest.NQN || st.row.AllowHost != newest.AllowHost {
		t.Fatalf("the box shows %+v, want what was acknowledged: %+v", st.row, newest)
	}
	if w := st.sent[len(st.sent)-1]; !isBounce(w) {
		t.Fatal("the host of the older row was left connected")
	}
}

// After a crash a command of the earlier process may land; until that is over nothing is granted,
// and the row that stands then is the truth.
func TestAStartWaitsForTheEarlierProcess(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessShared, "node-a")
	_, effects := Step(st.s, st.now, Publish{Waiter: 99, Node: "node-b", Access: AccessShared})
	write, _ := writeOf(effects[0])

	st.crash()
	w := st.publish("node-c", AccessShared)
	st.finish()
	st.wantReply(w, ErrUnavailable)
	off := st.unpublish("node-b", "")
	st.land(write.Rows[0])
	st.settle()
	// It landed, so it was a grant, and the unpublish took it back.
	st.finish()
	st.wantReply(off, nil)
	st.wantGranted("node-a")
	st.attach(AccessShared, "node-c")
}

func TestAnExclusiveOperationWithoutAnAnswer(t *testing.T) {
	st := newStage(t, FencingEpoch)
	w := st.exclusive(OpDelete, "")
	st.answer() // the read
	st.fail(ErrUnresolved)
	st.wantReply(w, ErrUnresolved)
	st.wantReply(st.publish("node-a", AccessSingle), ErrUnavailable)
	st.row = Volume{ID: testVolume} // it lands
	st.settle()
	w = st.publish("node-a", AccessSingle)
	st.finish()
	st.wantReply(w, ErrNotFound)
}

func TestASettlementEndsWhenTheRowIsGone(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	st.unpublish("node-a", "")
	st.lose(0)
	st.row = Volume{ID: testVolume}
	st.fail(ErrNotFound)
	w := st.unpublish("node-a", "")
	st.settle()
	st.wantReply(w, nil)
	st.wantIdle()
}

func TestWhatARefusedSettlementFindsDoneIsTold(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessShared, "node-a", "node-b")
	st.told = nil
	st.unpublish("node-a", "")
	st.lose(1) // it landed
	st.fail(ErrPrecondition)
	st.settle()
	st.wantTold(Detached, MigrationCompleted)
	st.unpublish("node-b", "")
	st.lose(0) // it did not
	st.lost = nil
	st.fail(ErrPrecondition)
	st.settle()
	st.wantTold()
	st.unpublish("node-b", "")
	st.finish()
	st.wantTold(Detached)
}

func TestALongQuietIsNotCutShort(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessShared, "node-a")
	rules := testRules
	rules.Quiet = st.now.Add(10 * testRules.CommandTimeout)
	st.restart(rules)
	st.unpublish("node-a", "")
	st.sleep(5 * testRules.CommandTimeout)
	if !st.s.Unresolved() {
		t.Fatal("settled while a write of the earlier process may land")
	}
	st.settle()
	st.wantGranted()
}

func TestAnOlderRowAfterAnOperationIsNotBelieved(t *testing.T) {
	st := newStage(t, FencingEpoch)
	older := st.row
	st.attach(AccessSingle, "node-a")
	w := st.exclusive(OpExpand, "2")
	st.row = older // the box came back without the grant
	st.row.Size *= 2
	st.finish()
	st.wantReply(w, nil)
	if st.replies[w].Volume.Size != st.row.Size {
		t.Fatalf("answered %d bytes", st.replies[w].Volume.Size)
	}
	st.settle()
	st.wantGranted("node-a")
}

// A caller must be able to tell that the outcome is not known, and nothing else.
func TestAnErrorHasOneKind(t *testing.T) {
	st := newStage(t, FencingEpoch)
	w := st.exclusive(OpExpand, "2")
	st.answer()
	st.fail(errors.New("a bug"))
	st.wantReply(w, ErrUnresolved)

	st = newStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	st.unpublish("node-a", "")
	st.lose(0)
	st.finish()
	w = st.unpublish("node-a", "")
	st.now = st.s.Deadline()
	st.do(Tick{})
	st.fail(fmt.Errorf("a damaged ledger: %w", ErrPrecondition)) // the read-back
	st.wantReply(w, ErrUnresolved)
}

func TestASettlementLeavesARowAloneThatIsAnotherClustersNow(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessSingle, "node-a")
	st.unpublish("node-a", "")
	st.lose(0)
	st.finish()
	st.row.Ledger.Cluster = "ba9876543210"
	writes := len(st.sent)
	w := st.unpublish("node-a", "")
	st.settle()
	st.wantReply(w, ErrPrecondition)
	if len(st.sent) != writes {
		t.Fatalf("wrote %+v", st.sent[writes:])
	}
	st.wantIdle()
}

// A create whose answer was lost may have made the volume: that there is none must not be said.
func TestAPublishOfAnUnresolvedCreateIsNotRefusedForGood(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.row = Volume{ID: testVolume}
	create := st.exclusive(OpCreate, "")
	st.answer() // the read
	st.fail(ErrUnresolved)
	st.wantReply(create, ErrUnresolved)
	st.wantReply(st.publish("node-a", AccessSingle), ErrUnavailable)
	st.settle()
	w := st.publish("node-a", AccessSingle)
	st.finish()
	st.wantReply(w, ErrNotFound)
}

// A lost write may bring back a row from before an outcome that was recorded since. If the process crashes
// then, the outcome is found once more: so nobody is told of it before that write's time is over.
func TestAnOutcomeIsNotToldWhileALostWriteMayUndoIt(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessShared, "node-a")
	older := st.row
	st.attach(AccessShared, "node-b")
	st.row = older // the box forgot
	st.do(Observed{})
	st.answer() // the read
	st.lose(0)  // the repair
	st.unpublish("node-b", "")
	st.finish()
	st.wantTold(Attached, Attached, MigrationStarted, Repaired)
	st.landLate()
	st.wantGranted("node-a", "node-b")
	st.restart(testRules)
	w := st.unpublish("node-b", "")
	st.finish()
	st.wantReply(w, nil)
	st.wantTold(Detached, MigrationFailed)
}

// A command of an earlier process may land where there is no row, too. What rests on there being none
// waits until that is over.
func TestAStartWaitsWhereThereIsNoRow(t *testing.T) {
	for name, tt := range map[string]struct {
		orchestrated bool
		row          Volume
		ask          func(*stage) Waiter
		waits        bool // else it is answered Unavailable at once
	}{
		"create":    {ask: func(st *stage) Waiter { return st.exclusive(OpCreate, "") }},
		"delete":    {ask: func(st *stage) Waiter { return st.exclusive(OpDelete, "") }},
		"publish":   {ask: func(st *stage) Waiter { return st.publish("node-a", AccessSingle) }},
		"unpublish": {ask: func(st *stage) Waiter { return st.unpublish("node-a", "") }, waits: true},
		"adoption": {
			orchestrated: true, row: Volume{ID: testVolume, Exists: true, Export: true, Size: 1 << 30, NQN: NQN(testPrefix, testVolume, 0), Port: 4420},
			ask: func(st *stage) Waiter { return st.unpublish("node-a", "") }, waits: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t, FencingEpoch)
			st.row = tt.row
			st.row.ID = testVolume
			rules := testRules
			rules.Orchestrated, rules.Quiet = tt.orchestrated, st.now.Add(testRules.CommandTimeout)
			st.restart(rules)
			st.cluster.adoption = Adoption{Timeout: 60}
			w := tt.ask(st)
			st.finish()
			if !tt.waits {
				st.wantReply(w, ErrUnavailable)
				return
			}
			st.sleep(testRules.CommandTimeout - time.Second)
			st.wantNoReply(w)
			if len(st.sent) > 0 || len(st.cluster.asked) > 0 {
				t.Fatalf("sent %+v, asked %+v", st.sent, st.cluster.asked)
			}
			st.settle()
			st.wantReply(w, nil)
		})
	}
}
