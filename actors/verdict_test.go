// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// said is a migration from node-a to node-b as KubeVirt tells of it.
func said(v Verdict, change ...func(*Migration)) Migration {
	m := Migration{Source: "node-a", Target: "node-b", UID: "u", Verdict: v}
	for _, c := range change {
		c(&m)
	}
	return m
}

// migrating begins with a shared volume on node-a and node-b, and everything told.
func migrating(t *testing.T) *stage {
	st := newOrchestratedStage(t, FencingEpoch)
	st.attach(AccessShared, "node-a", "node-b")
	st.wantTold(Attached, Attached, MigrationStarted)
	return st
}

// last returns what was told of a migration's outcome.
func (st *stage) outcomeTold() Announcement {
	st.t.Helper()
	for _, a := range st.told {
		if a.Kind == MigrationCompleted || a.Kind == MigrationFailed || a.Kind == MigrationTimedOut {
			return a
		}
	}
	st.t.Fatalf("no outcome in %+v", st.told)
	return Announcement{}
}

var errAway = fmt.Errorf("API server away: %w", ErrUnavailable)

// TestKubeVirtDecides: detach order alone is not an outcome.
func TestKubeVirtDecides(t *testing.T) {
	nobody := fmt.Errorf("no migration: %w", ErrNotFound)
	tests := []struct {
		name   string
		word   Migration
		err    error
		leaves NodeID
		want   AnnouncementKind
		by     string
		reason string
	}{
		{"success", said(VerdictSucceeded), nil, "node-a", MigrationCompleted, byKubeVirt, ""},
		{"failure", said(VerdictFailed, func(m *Migration) { m.Reason = "target crashed" }), nil, "node-b", MigrationFailed, byKubeVirt, "target crashed"},
		// A drain evicts the hotplug pod of the source first, and the VM runs on it still.
		{"failure although the source left", said(VerdictFailed), nil, "node-a", MigrationFailed, byKubeVirt, "KubeVirt gives no reason"},
		// The source crashed after the hand-over and the VM's new launcher is deleted.
		{"success although the target left", said(VerdictSucceeded), nil, "node-b", MigrationCompleted, byKubeVirt, ""},
		{"uncertain, the source left", said(VerdictUncertain), nil, "node-a", MigrationCompleted, byOrder, ""},
		{"uncertain, the target left", said(VerdictUncertain), nil, "node-b", MigrationFailed, byOrder, "target detached before source"},
		{"no KubeVirt", Migration{}, nobody, "node-b", MigrationFailed, byOrder, "target detached before source"},
		{"no KubeVirt, success", Migration{}, nobody, "node-a", MigrationCompleted, byOrder, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := migrating(t)
			st.cluster.migration, st.cluster.silence = tt.word, tt.err
			st.now = st.now.Add(10 * time.Second)
			w := st.unpublish(tt.leaves, "")
			st.finish()
			st.wantReply(w, nil)
			a := st.outcomeTold()
			if a.Kind != tt.want || a.DecidedBy != tt.by || a.Reason != tt.reason || a.Source != "node-a" || a.Target != "node-b" {
				t.Fatalf("told %+v", a)
			}
			st.wantTold(Detached, tt.want)
			st.sleep(time.Hour)
			st.wantTold()
			st.wantIdle()
		})
	}
}

// TestAnOpenVerdictIsPending: the detach does not wait for KubeVirt, the outcome does.
func TestAnOpenVerdictIsPending(t *testing.T) {
	tests := []struct {
		name   string
		leaves NodeID
		wait   time.Duration // until KubeVirt says how it ended; 0: it never does
		final  Verdict
		want   AnnouncementKind
		by     string
	}{
		{"success, told soon", "node-a", 10 * time.Second, VerdictSucceeded, MigrationCompleted, byKubeVirt},
		{"failure, told soon", "node-b", 10 * time.Second, VerdictFailed, MigrationFailed, byKubeVirt},
		{"failure although the source left", "node-a", 50 * time.Second, VerdictFailed, MigrationFailed, byKubeVirt},
		{"never told", "node-a", 0, 0, MigrationCompleted, byOrder},
		{"never told, the target left", "node-b", 0, 0, MigrationFailed, byOrder},
	}
	for _, tt := range tests {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, ", crash ", crash), func(t *testing.T) {
				st := migrating(t)
				st.cluster.migration = said(VerdictOpen)
				w := st.unpublish(tt.leaves, "")
				st.finish()
				st.wantReply(w, nil)
				st.wantTold(Detached)
				if crash {
					st.restart(st.s.rules)
					st.do(Observed{})
				}
				st.sleep(tt.wait)
				st.wantTold()
				if tt.final != 0 {
					st.cluster.migration.Verdict = tt.final
				}
				st.sleep(2 * time.Minute)
				a := st.outcomeTold()
				if a.DecidedBy != tt.by || a.Source != "node-a" || a.Target != "node-b" {
					t.Fatalf("told %+v", a)
				}
				st.wantTold(tt.want)
				if st.row.Ledger.Left != "" {
					t.Fatalf("the ledger still waits: %v", st.row.Ledger)
				}
				st.wantIdle()
			})
		}
	}
}

// TestAPendingOutcomeIsToldBeforeWhatComesNext: the ledger has no room for two.
func TestAPendingOutcomeIsToldBeforeWhatComesNext(t *testing.T) {
	pending := func(t *testing.T) *stage {
		st := migrating(t)
		st.cluster.silence = errAway
		st.unpublish("node-a", "")
		st.finish()
		st.now = st.s.Deadline()
		st.do(Tick{})
		if _, ok := st.pending.(Judge); !ok {
			t.Fatalf("%#v is in flight, want KubeVirt to be asked again", st.pending)
		}
		return st
	}
	t.Run("the last node leaves", func(t *testing.T) {
		st := pending(t)
		w := st.unpublish("node-b", "")
		st.finish()
		st.wantReply(w, nil)
		st.wantTold(Detached, Detached, MigrationCompleted)
		st.sleep(time.Hour)
		st.wantTold()
	})
	t.Run("the VM moves on", func(t *testing.T) {
		st := pending(t)
		w := st.publish("node-c", AccessShared)
		st.finish()
		st.wantReply(w, nil)
		st.wantTold(Detached, MigrationCompleted, Attached, MigrationStarted)
	})
	t.Run("the same node is published again", func(t *testing.T) {
		st := pending(t)
		w := st.publish("node-b", AccessShared)
		st.answer()
		st.wantReply(w, nil)
		st.wantTold(Detached)
		st.cluster.migration, st.cluster.silence = said(VerdictSucceeded), nil
		st.sleep(time.Minute)
		st.wantTold(MigrationCompleted)
	})
}

// TestAWriteInDoubtLeavesTheOutcomePending: a settlement has no time to ask.
func TestAWriteInDoubtLeavesTheOutcomePending(t *testing.T) {
	st := newOrchestratedStage(t, FencingHost)
	st.attach(AccessShared, "node-a")
	st.publish("node-b", AccessShared)
	st.finish()
	st.told = nil
	st.cluster.migration = said(VerdictOpen)
	w := st.unpublish("node-a", "")
	st.answer() // KubeVirt's word
	st.lose(0)
	st.wantReply(w, ErrUnresolved)
	st.settle()
	st.wantTold(Detached)
	st.cluster.migration.Verdict = VerdictFailed
	st.sleep(2 * time.Minute)
	st.wantTold(MigrationFailed)
}

func TestKubeVirtSetsTheDeadline(t *testing.T) {
	begun := testStart.Add(4 * time.Minute)
	started := func(m *Migration) { m.Started = begun }
	limit := func(d time.Duration) func(*Migration) { return func(m *Migration) { m.Limit = d } }
	tests := []struct {
		name string
		word Migration
		err  error
		want time.Time // of the timeout; zero: none
	}{
		{"no KubeVirt", Migration{}, fmt.Errorf("none: %w", ErrNotFound), testStart.Add(time.Second + 300*time.Second)},
		{"the target is pending", said(VerdictOpen), nil, time.Time{}},
		{"begun, no limit known", said(VerdictOpen, started), nil, begun.Add(300 * time.Second)},
		{"a large VM", said(VerdictOpen, started, limit(3*time.Hour)), nil, begun.Add(3 * time.Hour)},
		{"over, and the detach is to come", said(VerdictSucceeded, started), nil, time.Time{}},
		{"failed, and the detach is to come", said(VerdictFailed, started), nil, time.Time{}},
		{"uncertain", said(VerdictUncertain, started), nil, testStart.Add(time.Second + 300*time.Second)},
		{"API server away", Migration{}, errAway, testStart.Add(time.Second + 360*time.Second)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := newOrchestratedStage(t, FencingEpoch)
			st.cluster.migration, st.cluster.silence = tt.word, tt.err
			st.attach(AccessShared, "node-a", "node-b")
			st.told = nil
			st.sleep(4 * time.Hour)
			if tt.want.IsZero() {
				st.wantTold()
				return
			}
			a := st.outcomeTold()
			// Questions that fail are asked again after a while.
			if late := a.At.Sub(tt.want); late < 0 || late > lastBackoff {
				t.Fatalf("told at %v, want %v", a.At, tt.want)
			}
			if a.DecidedBy != byDeadline {
				t.Fatalf("told %+v", a)
			}
			st.wantTold(MigrationTimedOut)
			st.wantGranted("node-a", "node-b")
		})
	}
}

// TestAnEarlierDeadlineArrives: what KubeVirt says by itself re-arms the timer.
func TestAnEarlierDeadlineArrives(t *testing.T) {
	st := migrating(t)
	m := said(VerdictOpen, func(m *Migration) { m.Started, m.Limit = st.now, 150*time.Second })
	st.cluster.migration = m
	st.do(Outcome{Migration: m})
	st.sleep(149 * time.Second)
	st.wantTold()
	st.sleep(time.Second)
	st.wantTold(MigrationTimedOut)
}

// TestANewLeaderLearnsTheDeadline: what KubeVirt said by itself, it said to another process.
func TestANewLeaderLearnsTheDeadline(t *testing.T) {
	st := migrating(t)
	st.restart(st.s.rules)
	begun := st.now
	st.cluster.migration = said(VerdictOpen, func(m *Migration) { m.Started, m.Limit = begun, 100*time.Second })
	st.do(Observed{})
	st.sleep(10 * time.Minute)
	if a := st.outcomeTold(); !a.At.Equal(begun.Add(100 * time.Second)) {
		t.Fatalf("told at %v, want %v", a.At, begun.Add(100*time.Second))
	}
}

func TestWordsOfAnotherMigrationAreIgnored(t *testing.T) {
	st := migrating(t)
	st.cluster.silence = errAway
	st.do(Outcome{Migration: Migration{Source: "node-b", Target: "node-a", Verdict: VerdictFailed}})
	st.unpublish("node-a", "")
	st.sleep(2 * time.Minute)
	if a := st.outcomeTold(); a.Kind != MigrationCompleted || a.DecidedBy != byOrder {
		t.Fatalf("told %+v", a)
	}
}

// TestTheWordOfAnEarlierMigrationIsForgotten: node-a to node-b twice.
func TestTheWordOfAnEarlierMigrationIsForgotten(t *testing.T) {
	st := migrating(t)
	st.cluster.migration = said(VerdictFailed)
	st.unpublish("node-b", "")
	st.finish()
	st.wantTold(Detached, MigrationFailed)
	st.cluster.silence = errAway
	st.attach(AccessShared, "node-b")
	st.told = nil
	st.unpublish("node-a", "")
	st.sleep(2 * time.Minute)
	if a := st.outcomeTold(); a.Kind != MigrationCompleted {
		t.Fatalf("told %+v", a)
	}
}

// TestTheTimeoutIsToldOnce although KubeVirt says later how it ended.
func TestTheTimeoutIsToldOnce(t *testing.T) {
	st := migrating(t)
	st.cluster.migration = said(VerdictOpen, func(m *Migration) { m.Started, m.Limit = st.now, time.Minute })
	st.sleep(10 * time.Minute)
	st.wantTold(MigrationTimedOut)
	st.cluster.migration.Verdict = VerdictSucceeded
	st.do(Outcome{Migration: st.cluster.migration})
	st.unpublish("node-a", "")
	st.finish()
	st.sleep(time.Hour)
	st.wantTold(Detached)
}

func TestAdmission(t *testing.T) {
	refusal := fmt.Errorf("no migration to it: %w", ErrPrecondition)
	tests := []struct {
		name   string
		policy Policy
		answer error
		want   error
		told   []AnnouncementKind
	}{
		{"a migration", PolicyAuto, nil, nil, []AnnouncementKind{Attached, MigrationStarted}},
		{"none", PolicyAuto, refusal, ErrPrecondition, []AnnouncementKind{Conflict}},
		{"cannot be told", PolicyKubeVirt, errAway, ErrUnavailable, nil},
		{"an answer of no kind", PolicyKubeVirt, errors.New("?"), ErrUnavailable, nil},
		{"any may", PolicyAny, refusal, nil, []AnnouncementKind{Attached, MigrationStarted}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := newOrchestratedStage(t, FencingEpoch)
			st.attach(AccessShared, "node-a")
			st.told = nil
			st.cluster.admit = tt.answer
			for range 2 { // told once, not once per retry
				st.tickets++
				st.do(Publish{Waiter: st.tickets, Node: "node-b", Access: AccessShared, Policy: tt.policy})
				st.finish()
				st.wantReply(st.tickets, tt.want)
			}
			st.wantTold(tt.told...)
			if tt.want != nil {
				st.wantGranted("node-a")
			}
		})
	}
}

// TestAdmissionIsForOneHolder: who was admitted beside one node was not admitted beside another.
func TestAdmissionIsForOneHolder(t *testing.T) {
	st := newOrchestratedStage(t, FencingEpoch)
	st.attach(AccessShared, "node-a")
	w := st.publish("node-c", AccessShared)
	// Meanwhile the box comes back with another holder.
	other := st.row
	other.Ledger.Gen += 7
	other.Ledger.Grants = []Grant{{"node-b", other.Ledger.Grants[0].At + 1}}
	st.row = other
	st.do(Observed{})
	st.finish()
	st.wantReply(w, nil)
	var holders []NodeID
	for _, e := range st.cluster.asked {
		if a, ok := e.(Admit); ok {
			holders = append(holders, a.Holder)
		}
	}
	if len(holders) != 2 || holders[1] != "node-b" {
		t.Fatalf("admitted beside %v", holders)
	}
}

// TestSilenceAfterARestartIsNoTimeout: what KubeVirt had said is forgotten, and the ledger's own limit is
// long past.
func TestSilenceAfterARestartIsNoTimeout(t *testing.T) {
	st := migrating(t)
	st.cluster.migration = said(VerdictOpen, func(m *Migration) { m.Started, m.Limit = st.now, 2*time.Hour })
	st.sleep(30 * time.Minute)
	st.wantTold()

	st.restart(st.s.rules)
	st.cluster.silence = errAway
	st.do(Observed{})
	st.sleep(30 * time.Second)
	st.wantTold()
	st.cluster.silence = nil
	st.sleep(time.Hour)
	st.wantTold()

	// Silence that lasts is one.
	st.cluster.silence = errAway
	st.sleep(time.Hour)
	st.wantTold(MigrationTimedOut)
}

// TestOldNewsDecidesNothing: what KubeVirt says by itself comes from a cache, and may be about an earlier
// migration between the same nodes.
func TestOldNewsDecidesNothing(t *testing.T) {
	st := migrating(t)
	st.cluster.migration = said(VerdictOpen)
	st.unpublish("node-a", "")
	st.finish()
	st.now = st.now.Add(100 * time.Millisecond)
	st.do(Outcome{Migration: said(VerdictFailed, func(m *Migration) { m.UID = "earlier" })})
	st.finish()
	st.wantTold(Detached)
	st.cluster.migration = said(VerdictSucceeded)
	st.sleep(2 * time.Minute)
	st.wantTold(MigrationCompleted)
}

// KubeVirt says how a migration ended while it is asked: the answer that arrives is older, and it is asked
// again before anything is told.
func TestAnAnswerThatIsOlderThanTheWordDecidesNothing(t *testing.T) {
	for name, silence := range map[string]error{"open": nil, "absent": fmt.Errorf("no migration: %w", ErrNotFound)} {
		t.Run(name, func(t *testing.T) {
			st := migrating(t)
			st.cluster.migration, st.cluster.silence = said(VerdictOpen), silence
			w := st.unpublish("node-a", "")
			if _, ok := st.pending.(Judge); !ok {
				t.Fatalf("in flight is %#v", st.pending)
			}
			st.do(Outcome{Migration: said(VerdictFailed)})
			st.answer()
			if _, ok := st.pending.(Judge); !ok {
				t.Fatalf("in flight is %#v, want it asked again", st.pending)
			}
			st.cluster.migration, st.cluster.silence = said(VerdictFailed), nil
			st.finish()
			st.wantReply(w, nil)
			if a := st.outcomeTold(); a.Kind != MigrationFailed || a.DecidedBy != byKubeVirt {
				t.Fatalf("told %+v", a)
			}
		})
	}
}

// TestAnEndIsNotTakenBack: KubeVirt forgets its migrations, and its caches are behind what was read live.
func TestAnEndIsNotTakenBack(t *testing.T) {
	t.Run("forgotten", func(t *testing.T) {
		st := migrating(t)
		st.finish()
		st.do(Outcome{Migration: said(VerdictFailed)})
		st.cluster.silence = fmt.Errorf("no migration: %w", ErrNotFound)
		st.sleep(10 * time.Minute)
		st.unpublish("node-a", "")
		st.finish()
		st.wantTold(Detached, MigrationFailed)
	})
	t.Run("an older word", func(t *testing.T) {
		st := migrating(t)
		st.finish()
		st.do(Outcome{Migration: said(VerdictFailed)})
		st.do(Outcome{Migration: said(VerdictOpen)})
		st.cluster.silence = errAway
		st.unpublish("node-a", "")
		st.finish()
		st.wantTold(Detached, MigrationFailed)
	})
	t.Run("an older word meanwhile", func(t *testing.T) {
		st := migrating(t)
		st.finish()
		st.cluster.migration = said(VerdictFailed)
		st.unpublish("node-a", "")
		st.do(Outcome{Migration: said(VerdictOpen)})
		st.answer()
		st.cluster.silence = errAway
		st.finish()
		st.wantTold(Detached, MigrationFailed)
	})
}

// TestAnOutcomeIsToldWhoseMigrationTheNextOneReplaces: the grant that begins the next one is in doubt, the
// box refuses to have it taken back, and so it stands.
func TestAnOutcomeIsToldWhoseMigrationTheNextOneReplaces(t *testing.T) {
	st := migrating(t)
	st.cluster.migration = said(VerdictOpen)
	st.unpublish("node-b", "")
	st.finish()
	st.wantTold(Detached)
	w := st.publish("node-c", AccessShared)
	for st.s.inflight != inflightGrant {
		st.answer()
	}
	st.lose(1) // it landed
	st.fail(ErrPrecondition)
	st.settle()
	st.wantReply(w, ErrUnresolved)
	st.wantGranted("node-a", "node-c")
	st.wantTold(MigrationFailed)
}
