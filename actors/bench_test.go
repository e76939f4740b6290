// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkStepPublish is the decision on a publish of a detached volume and on the box's answer,
// without any goroutine.
func BenchmarkStepPublish(b *testing.B) {
	b.ReportAllocs()
	detached := looked(b, created(FencingHost))
	var s State
	var effects []Effect
	for b.Loop() {
		s, _ = Step(detached, testStart, Publish{Waiter: 1, Node: "node-a", Access: AccessShared})
		s, effects = Step(s, testStart, Done{})
	}
	wantReplied(b, s, effects, "node-a")
}

// BenchmarkStepMigrate is the decision on the publish to a migration's target and on the unpublish
// from its source.
func BenchmarkStepMigrate(b *testing.B) {
	b.ReportAllocs()
	source, _ := Step(looked(b, created(FencingHost)), testStart, Publish{Waiter: 1, Node: "node-a", Access: AccessShared})
	source, _ = Step(source, testStart, Done{})
	var both, target State
	var in, out []Effect
	for b.Loop() {
		both, _ = Step(source, testStart, Publish{Waiter: 2, Node: "node-b", Access: AccessShared})
		both, in = Step(both, testStart, Done{})
		target, _ = Step(both, testStart, Unpublish{Waiter: 3, Node: "node-a"})
		target, out = Step(target, testStart, Done{})
	}
	wantReplied(b, both, in, "node-a", "node-b")
	wantReplied(b, target, out, "node-b")
}

// looked returns a volume's state after its row was read.
func looked(b *testing.B, v Volume) State {
	b.Helper()
	s, effects := Step(NewState(testVolume, testRules), testStart, Observed{})
	if _, ok := effects[0].(ReadRow); !ok {
		b.Fatalf("the volume's row is not read, but %#v", effects)
	}
	s, _ = Step(s, testStart, Done{Volume: v})
	return s
}

// wantReplied checks that a request was answered well and who holds the volume.
func wantReplied(b *testing.B, s State, effects []Effect, nodes ...NodeID) {
	b.Helper()
	if r, ok := effects[len(effects)-1].(Reply); !ok || r.Err != nil {
		b.Fatalf("not answered well: %#v", effects)
	}
	var got []NodeID
	for _, g := range s.vol.Ledger.Grants {
		got = append(got, g.Node)
	}
	if !slices.Equal(got, nodes) {
		b.Fatalf("granted to %v, want %v", got, nodes)
	}
}

func BenchmarkLedger(b *testing.B) {
	l := created(FencingHost).Ledger
	l.Epoch, l.Access = TokenAt(testStart), AccessShared
	l.Grants = []Grant{{Node: "node-a", At: TokenAt(testStart)}, {Node: "node-b", At: TokenAt(testStart) + 1}}
	comment := l.String()
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if l.String() != comment {
				b.Fatal("the ledger was written in another form")
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ours, err := ParseLedger(comment); !ours || err != nil {
				b.Fatalf("ours %v, error %v", ours, err)
			}
		}
	})
}

// An instantBox answers at once. Each volume has a row of its own without a lock: its actor has one
// effect in flight at a time.
type instantBox map[VolumeID]*Volume

// List says that no volume has a task of its own.
func (instantBox) List(context.Context) ([]Volume, error) { return nil, nil }

func (x instantBox) Read(_ context.Context, id VolumeID) (Volume, error) { return *x[id], nil }

func (x instantBox) Write(_ context.Context, w Write) error {
	v, row := x[w.Volume], w.last()
	v.Export, v.NQN, v.AllowHost, v.Ledger = row.Export, row.NQN, row.AllowHost, row.Ledger
	return nil
}

// benchVolume returns the ID of a benchmark's nth volume.
func benchVolume(n int) VolumeID {
	return VolumeID(fmt.Sprintf("pvc-00000000-0000-4000-8000-%012x", n))
}

// supervise runs a supervisor with the given number of volumes on a box that answers at once.
func supervise(b *testing.B, volumes int) *Supervisor {
	b.Helper()
	box := instantBox{}
	for i := range volumes {
		v := created(FencingHost)
		v.ID, v.NQN = benchVolume(i), NQN(testPrefix, benchVolume(i), 0)
		box[v.ID] = &v
	}
	s, err := New(Config{Box: box, Nodes: &fakeNodes{}, Cluster: testCluster, CommandTimeout: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for running := false; !running; {
		s.mu.Lock()
		running = s.running
		s.mu.Unlock()
		runtime.Gosched()
	}
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	return s
}

// BenchmarkSupervisorPublish is a publish and an unpublish through mailbox, loop and worker, of many
// volumes at the same time, each by a goroutine of its own.
func BenchmarkSupervisorPublish(b *testing.B) {
	const perCPU = 16
	b.ReportAllocs()
	s := supervise(b, perCPU*runtime.GOMAXPROCS(0))
	var next atomic.Int64
	b.SetParallelism(perCPU)
	b.RunParallel(func(pb *testing.PB) {
		id := benchVolume(int(next.Add(1) - 1))
		for pb.Next() {
			v, err := s.Publish(b.Context(), id, "node-a", AccessShared, PolicyAuto)
			if err != nil || len(v.Ledger.Grants) != 1 {
				b.Errorf("publish: %v, error %v", v.Ledger, err)
				return
			}
			if err := s.Unpublish(b.Context(), id, "node-a"); err != nil {
				b.Errorf("unpublish: %v", err)
				return
			}
		}
	})
}

// BenchmarkSupervisorRepublish is a publish that finds its node granted: nothing is written, and the
// mailbox is all that it costs.
func BenchmarkSupervisorRepublish(b *testing.B) {
	b.ReportAllocs()
	s := supervise(b, 1)
	publish := func() error {
		_, err := s.Publish(b.Context(), benchVolume(0), "node-a", AccessSingle, PolicyAuto)
		return err
	}
	for b.Loop() {
		if err := publish(); err != nil {
			b.Fatal(err)
		}
	}
}
