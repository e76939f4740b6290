// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"fmt"
	"testing"
	"time"
)

// newOlderStage begins with a volume of the older driver: exported although nobody may be attached.
func newOlderStage(t *testing.T, adoption Adoption) *stage {
	st := newOrchestratedStage(t, FencingEpoch)
	st.row.Ours, st.row.Ledger, st.row.Export = false, Ledger{}, true
	st.cluster.adoption = adoption
	return st
}

func TestAnUnattachedVolumeIsAdoptedAndTurnedOff(t *testing.T) {
	st := newOlderStage(t, Adoption{Access: AccessSingle, Timeout: 300})
	found := st.row.NQN
	w := st.publish("node-a", AccessSingle)
	st.answer() // the row
	st.answer() // the cluster
	st.answer() // the first ledger
	if st.row.Export || !st.row.Ours || st.row.NQN != found {
		t.Fatalf("adopted as %+v", st.row)
	}
	st.finish()
	st.wantReply(w, nil)
	st.wantGranted("node-a")
	if st.row.NQN == found || st.row.Ledger.Epoch == 0 {
		t.Fatalf("granted under the older driver's NQN: %+v", st.row)
	}
}

func TestAnAttachedVolumeKeepsItsNQN(t *testing.T) {
	attached := Grant{"node-a", TokenAt(testStart.Add(-time.Hour))}
	st := newOlderStage(t, Adoption{Access: AccessShared, Timeout: 600, Grants: []Grant{attached}})
	found := st.row.NQN
	w := st.publish("node-b", AccessShared)
	st.finish()
	st.wantReply(w, nil)
	st.wantGranted("node-a", "node-b")
	if st.row.NQN != found || !st.row.Export || st.row.Ledger.Grants[0] != attached || st.row.Ledger.Timeout != 600 {
		t.Fatalf("adopted as %+v", st.row)
	}
	// The newer one is the target, and its grant the start.
	st.wantTold(Adopted, Attached, MigrationStarted)
	if mg, _ := st.row.Ledger.migration(); mg.source != attached || mg.start.Before(testStart) {
		t.Fatalf("migration %+v", mg)
	}
}

func TestAThirdNodeIsRefusedOnAnAdoptedVolume(t *testing.T) {
	st := newOlderStage(t, Adoption{Access: AccessShared, Timeout: 300, Grants: []Grant{{"node-a", 1}, {"node-b", 2}}})
	w := st.publish("node-c", AccessShared)
	st.finish()
	st.wantReply(w, ErrPrecondition)
	st.wantGranted("node-a", "node-b")
}

func TestAdoptionIsRefused(t *testing.T) {
	tests := []struct {
		name     string
		adoption Adoption
		foreign  error
		want     error
	}{
		{"no PersistentVolume here", Adoption{}, fmt.Errorf("no PersistentVolume: %w", ErrPrecondition), ErrPrecondition},
		{"cannot be told", Adoption{}, errAway, ErrUnavailable},
		{"three attached", Adoption{Access: AccessShared, Timeout: 300, Grants: []Grant{{"node-a", 1}, {"node-b", 2}, {"node-c", 3}}}, nil, ErrPrecondition},
		{"no such timeout", Adoption{Access: AccessShared, Timeout: 7}, nil, ErrPrecondition},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := newOlderStage(t, tt.adoption)
			st.cluster.foreign = tt.foreign
			before := st.row
			for _, ask := range []func() Waiter{
				func() Waiter { return st.publish("node-a", AccessShared) },
				func() Waiter { return st.unpublish("node-a", "") },
				func() Waiter { return st.exclusive(OpDelete, "") },
			} {
				w := ask()
				st.finish()
				st.wantReply(w, tt.want)
			}
			if len(st.sent) > 0 || fmt.Sprint(st.row) != fmt.Sprint(before) {
				t.Fatalf("wrote %+v", st.sent)
			}
		})
	}
}

// TestALostLedgerKeepsItsFence: somebody cleared the comment of a volume of this driver.
func TestALostLedgerKeepsItsFence(t *testing.T) {
	attached := Grant{"node-a", TokenAt(testStart.Add(-time.Hour))}
	st := newOlderStage(t, Adoption{Access: AccessShared, Timeout: 300, Fencing: FencingHost, Grants: []Grant{attached}})
	w := st.publish("node-a", AccessShared)
	st.finish()
	st.wantReply(w, nil)
	if st.row.Ledger.Fencing != FencingHost || st.row.AllowHost != HostOf(testCluster, "node-a").NQN {
		t.Fatalf("adopted as %+v", st.row)
	}
}

// TestALostAdoptionIsSettled: its write may land at any time, and is found or made again.
func TestALostAdoptionIsSettled(t *testing.T) {
	for _, lands := range []bool{false, true} {
		t.Run(fmt.Sprint("lands ", lands), func(t *testing.T) {
			st := newOlderStage(t, Adoption{Access: AccessSingle, Timeout: 300})
			w := st.unpublish("node-a", "")
			st.answer()
			st.answer()
			st.lose(0)
			st.wantReply(w, ErrUnresolved)
			again := st.publish("node-a", AccessSingle)
			st.finish()
			st.wantReply(again, ErrUnavailable)
			if lands {
				st.landLate()
			}
			st.lost = nil
			st.settle()
			last := st.publish("node-a", AccessSingle)
			st.finish()
			st.wantReply(last, nil)
			st.wantGranted("node-a")
		})
	}
}

// TestAForeignVolumeIsNotAdopted: another cluster's ledger is a ledger.
func TestAForeignVolumeIsNotAdopted(t *testing.T) {
	st := newOrchestratedStage(t, FencingEpoch)
	st.row.Ledger.Cluster = "ffffffffffff"
	w := st.publish("node-a", AccessSingle)
	st.finish()
	st.wantReply(w, ErrPrecondition)
	if len(st.cluster.asked) > 0 {
		t.Fatalf("asked %+v", st.cluster.asked)
	}
}

// TestAForgottenGrantKeepsTheNQN: the box came back without the grant of a node whose VM runs.
func TestAForgottenGrantKeepsTheNQN(t *testing.T) {
	for _, told := range []bool{true, false} {
		t.Run(fmt.Sprint("told ", told), func(t *testing.T) {
			st := newOrchestratedStage(t, FencingEpoch)
			st.attach(AccessSingle, "node-a")
			live := st.row.NQN
			st.row.Ledger.Grants, st.row.Ledger.Access = nil, AccessNone
			st.restart(st.s.rules)
			ev := Publish{Waiter: 99, Node: "node-a", Access: AccessSingle}
			if told {
				ev.Attached = live
			}
			st.sent = nil
			st.do(ev)
			st.finish()
			st.wantReply(99, nil)
			if kept := st.row.NQN == live && len(st.sent[0].Rows) == 1; kept != told {
				t.Fatalf("NQN %s after %s, written %+v", st.row.NQN, live, st.sent)
			}
		})
	}
}

// TestARunningVMKeepsItsEpoch: somebody has wiped the comment of a volume whose VM runs. Its NQN, epoch
// and all, is what the node is connected to.
func TestARunningVMKeepsItsEpoch(t *testing.T) {
	for _, fencing := range []Fencing{FencingEpoch, FencingHost} {
		t.Run(fencing.String(), func(t *testing.T) {
			st := newOrchestratedStage(t, fencing)
			st.attach(AccessShared, "node-a")
			live := st.row.NQN
			st.cluster.adoption = Adoption{Access: AccessShared, Timeout: 300, Grants: st.row.Ledger.Grants}
			st.row.Ours, st.row.Ledger = false, Ledger{}
			st.restart(st.s.rules)
			w := st.publish("node-b", AccessShared)
			st.finish()
			st.wantReply(w, nil)
			st.wantGranted("node-a", "node-b")
			if st.row.NQN != live || !st.row.Export {
				t.Fatalf("node-a uses %s, the box shows %+v", live, st.row)
			}
			// No later epoch comes before it.
			for _, node := range []NodeID{"node-a", "node-b"} {
				st.unpublish(node, "")
				st.finish()
			}
			before := st.row.Ledger.Epoch
			st.attach(AccessShared, "node-c")
			if st.row.Ledger.Epoch <= before || before == 0 {
				t.Fatalf("epoch %v after %v", st.row.Ledger.Epoch, before)
			}
		})
	}
}

// TestAnNQNThatNoLedgerGivesIsNotAdopted: a ledger would change it under whoever is connected.
func TestAnNQNThatNoLedgerGivesIsNotAdopted(t *testing.T) {
	for _, after := range []string{".", ".old", ".0", ".-1"} {
		t.Run(after, func(t *testing.T) {
			st := newOlderStage(t, Adoption{Access: AccessSingle, Timeout: 300, Grants: []Grant{{"node-a", 1}}})
			st.row.NQN += after
			w := st.publish("node-a", AccessSingle)
			st.finish()
			if after == ".old" { // a token like any other
				st.wantReply(w, nil)
			} else {
				st.wantReply(w, ErrPrecondition)
			}
			if st.row.NQN != NQN(testPrefix, testVolume, 0)+after {
				t.Fatalf("the NQN is %s", st.row.NQN)
			}
		})
	}
}

// TestTheNewerOfOneSecondIsTheTarget: the API server tells times in seconds.
func TestTheNewerOfOneSecondIsTheTarget(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprint("crash ", crash), func(t *testing.T) {
			at := TokenAt(testStart.Add(-time.Minute))
			st := newOlderStage(t, Adoption{Access: AccessShared, Timeout: 300, Grants: []Grant{{"node-a", at}, {"node-b", at}}})
			st.cluster.silence = errAway
			w := st.unpublish("node-b", "")
			st.finish()
			st.wantReply(w, nil)
			if crash {
				st.restart(st.s.rules)
				st.do(Observed{})
			}
			st.sleep(2 * time.Minute)
			if a := st.outcomeTold(); a.Kind != MigrationFailed || a.Source != "node-a" || a.Target != "node-b" {
				t.Fatalf("node-b left before node-a, told %+v", a)
			}
		})
	}
}

// TestNothingIsAdoptedWhileAnEarlierProcessMayWrite: its first ledger would come back over what was granted
// since.
func TestNothingIsAdoptedWhileAnEarlierProcessMayWrite(t *testing.T) {
	st := newOlderStage(t, Adoption{Access: AccessSingle, Timeout: 300})
	st.unpublish("node-a", "")
	st.answer()
	st.answer()
	st.lose(0)
	rules := st.s.rules
	rules.Quiet = st.now.Add(rules.CommandTimeout)
	st.restart(rules)

	w := st.publish("node-a", AccessSingle)
	st.finish()
	st.wantReply(w, ErrUnavailable)
	off := st.unpublish("node-b", "")
	st.finish()
	st.wantNoReply(off)
	st.landLate()
	st.settle()
	st.wantReply(off, nil)
	last := st.publish("node-a", AccessSingle)
	st.finish()
	st.wantReply(last, nil)
	st.wantGranted("node-a")
}
