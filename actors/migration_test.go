// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"testing"
	"time"
)

func TestMigrationOutcomeByDetachOrder(t *testing.T) {
	tests := []struct {
		name string
		off  []NodeID
		want []AnnouncementKind
	}{
		{"the source leaves", []NodeID{"node-a", "node-b"}, []AnnouncementKind{Detached, MigrationCompleted, Detached}},
		{"the target leaves", []NodeID{"node-b", "node-a"}, []AnnouncementKind{Detached, MigrationFailed, Detached}},
		{"both at once", []NodeID{""}, []AnnouncementKind{Detached, Detached, MigrationFailed}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := newStage(t, FencingEpoch)
			st.attach(AccessShared, "node-a", "node-b")
			st.wantTold(Attached, Attached, MigrationStarted)
			if !st.s.Migrating() {
				t.Fatal("no migration is under way")
			}
			var all []Announcement
			for _, node := range tt.off {
				st.now = st.now.Add(10 * time.Second)
				st.unpublish(node, "")
				st.finish()
			}
			all = append(all, st.told...)
			st.wantTold(tt.want...)
			for _, a := range all {
				if a.Kind != MigrationCompleted && a.Kind != MigrationFailed {
					continue
				}
				if a.Source != "node-a" || a.Target != "node-b" || a.Duration < 10*time.Second || a.Duration > 11*time.Second {
					t.Fatalf("told %+v", a)
				}
			}
		})
	}
}

func TestMigrationTimesOutByItself(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessShared, "node-a", "node-b")
	st.told = nil
	st.sleep(298 * time.Second)
	st.wantTold()
	st.sleep(2 * time.Second)
	st.wantTold(MigrationTimedOut)
	if st.s.Migrating() {
		t.Fatal("counted as under way after its outcome was told")
	}
	// Nothing is revoked, and what comes later is no second outcome.
	st.wantGranted("node-a", "node-b")
	st.sleep(time.Hour)
	st.wantTold()
	st.unpublish("node-a", "")
	st.finish()
	st.wantTold(Detached)
	// The next migration is another one.
	st.attach(AccessShared, "node-c")
	st.wantTold(Attached, MigrationStarted)
	st.unpublish("node-b", "")
	st.finish()
	st.wantTold(Detached, MigrationCompleted)
}

func TestTimeoutIsToldWhenTheBoxIsBack(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessShared, "node-a", "node-b")
	st.told = nil
	st.now = st.s.Deadline()
	st.do(Tick{})
	st.fail(ErrUnavailable) // the read
	st.sleep(firstBackoff - 1)
	st.now = st.s.Deadline()
	st.do(Tick{})
	st.answer()
	st.fail(ErrUnavailable) // the write
	st.wantTold()
	st.sleep(time.Minute)
	st.wantTold(MigrationTimedOut)
	st.wantIdle()
}

// A restart at any point finds the same migration: the order, the start, the deadline, and
// whether its outcome was told.
func TestRestartChangesNothingAboutAMigration(t *testing.T) {
	for _, untilRestart := range []time.Duration{0, 100 * time.Second, 400 * time.Second} {
		t.Run(untilRestart.String(), func(t *testing.T) {
			st := newStage(t, FencingEpoch)
			st.attach(AccessShared, "node-a", "node-b")
			st.sleep(untilRestart)
			before, _ := st.s.vol.Ledger.migration()
			told := st.told
			st.told = nil

			st.restart(testRules)
			st.do(Observed{})
			st.finish()
			after, ok := st.s.vol.Ledger.migration()
			if !ok || before != after {
				t.Fatalf("migration %+v, before the restart %+v", after, before)
			}
			st.sleep(time.Hour)
			timeouts := 0
			for _, a := range append(told, st.told...) {
				if a.Kind == MigrationTimedOut {
					timeouts++
				}
			}
			if timeouts != 1 {
				t.Fatalf("the timeout was told %d times", timeouts)
			}
		})
	}
}

// A deadline that passes without anything done would have the loop spin.
func TestNoTimerRunsForAMigrationOfOthers(t *testing.T) {
	for name, change := range map[string]func(*Volume){
		"another cluster's":          func(v *Volume) { v.Ledger.Cluster = "ba9876543210" },
		"an NQN that is not its own": func(v *Volume) { v.NQN = "nqn.2000-02.com.example:other" },
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t, FencingEpoch)
			st.attach(AccessShared, "node-a", "node-b")
			change(&st.row)
			st.restart(testRules)
			st.now = st.now.Add(time.Hour)
			writes := len(st.sent)
			st.do(Observed{})
			st.finish()
			st.wantIdle()
			if len(st.sent) != writes {
				t.Fatalf("wrote %+v", st.sent[writes:])
			}
			if st.s.Migrating() {
				t.Fatal("counted as a migration of this cluster")
			}
		})
	}
}

func TestAMigrationsTimerSurvivesAFailedRead(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessShared, "node-a", "node-b")
	st.told = nil
	st.now = st.now.Add(testRules.Fresh + time.Second)
	w := st.publish("node-b", AccessShared)
	st.fail(ErrUnavailable)
	st.wantReply(w, ErrUnavailable)
	if st.s.Idle() {
		t.Fatal("idle while a migration's time runs")
	}
	st.sleep(301 * time.Second)
	st.wantTold(MigrationTimedOut)
	st.wantIdle()
}

func TestATimeoutIsNotRecordedOverARowThatSomebodyChanged(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessShared, "node-a", "node-b")
	st.told = nil
	st.row.Ledger = st.row.Ledger.without("node-a") // an operator released it
	st.row.Ledger.Gen += 5
	gen := st.row.Ledger.Gen
	st.sleep(301 * time.Second)
	st.wantGranted("node-b")
	if st.row.Ledger.Gen < gen {
		t.Fatal("the gen was lowered")
	}
	st.wantIdle()
}

func TestARefusedTimeoutEntryIsTriedLessAndLessOften(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessShared, "node-a", "node-b")
	st.now = st.s.Deadline()
	st.do(Tick{})
	writes := 0
	for end := st.now.Add(5 * time.Minute); st.now.Before(end); {
		for st.pending != nil {
			if _, ok := writeOf(st.pending); ok {
				writes++
				st.fail(ErrPrecondition)
			} else {
				st.answer()
			}
		}
		st.now = st.s.Deadline()
		st.do(Tick{})
	}
	if writes > 20 {
		t.Fatalf("%d attempts in 5 minutes", writes)
	}
}

func TestReadersAreNoMigration(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessReader, "node-a", "node-b")
	st.wantTold(Attached, Attached)
	if st.s.Migrating() || !st.s.Deadline().IsZero() {
		t.Fatal("a read-only volume on two nodes was taken for a migration")
	}
}

func TestGrantTimesKeepTheirOrderWhenTheClockDoesNot(t *testing.T) {
	st := newStage(t, FencingEpoch)
	st.attach(AccessShared, "node-a")
	st.now = st.now.Add(-time.Hour)
	w := st.publish("node-b", AccessShared)
	st.finish()
	st.wantReply(w, nil)
	g := st.row.Ledger.Grants
	if g[1].At <= g[0].At {
		t.Fatalf("grants %+v", g)
	}
	st.unpublish("node-a", "")
	st.finish()
	for _, a := range st.told {
		if a.Duration < 0 {
			t.Fatalf("told %+v", a)
		}
	}
}
