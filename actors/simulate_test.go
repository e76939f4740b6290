// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	simSeeds = flag.Uint64("sim.seeds", 0, "simulate this many schedules; 0: 10000, or 300 under the race detector")
	simFirst = flag.Uint64("sim.first", 0, "begin with this seed")
	simSeed  = flag.Int64("sim.seed", -1, "simulate this one schedule and tell what happens in it; -1: many")
)

// simulated counts over all schedules, for the line that TestMain prints.
var simulated struct{ schedules, commands, violations atomic.Int64 }

// TestSimulation plays schedules of a whole driver: the real supervisor and loops under synctest, many
// volumes on one box, callers that repeat what fails as csi-attacher does. The seed decides how long
// each command takes, which answers are lost and what lands late, when the box reboots and what it
// forgets, when a process is killed or stopped and the next one starts, which nodes are lost, and who
// migrates where. Each moment is held to the promises P1 to P6; at the end everything is answered and
// at rest.
func TestSimulation(t *testing.T) {
	if *simSeed >= 0 {
		simulate(t, uint64(*simSeed), t.Logf)
		return
	}
	seeds := *simSeeds
	switch {
	case seeds > 0:
	case testing.Short():
		seeds = 100
	case raceDetector:
		seeds = 300
	default:
		seeds = 10000
	}
	const lanes = 4
	for lane := range uint64(lanes) {
		t.Run(fmt.Sprint(lane), func(t *testing.T) {
			t.Parallel()
			for seed := *simFirst + lane; seed < *simFirst+seeds && simulated.violations.Load() == 0; seed += lanes {
				simulate(t, seed, nil)
			}
		})
	}
}

// TestASeedIsOneSchedule plays schedules twice: what happens, and when, must be the same, or a seed would
// not bring a failure back.
func TestASeedIsOneSchedule(t *testing.T) {
	for seed := range uint64(20) {
		if a, b := simulate(t, seed, nil), simulate(t, seed, nil); a != b {
			t.Fatalf("seed %d: trace %x, then %x", seed, a, b)
		}
	}
}

// A simulation is one schedule under way.
type simulation struct {
	t     *testing.T
	seed  uint64
	box   *simBox
	nodes *simHosts
	rnd   *rand.Rand // of what befalls the driver and the box

	mu   sync.Mutex
	proc *simProcess // nil: none is up
}

// A simProcess is one run of the driver.
type simProcess struct {
	sup    *Supervisor
	view   *simView
	cancel context.CancelFunc
	ended  chan struct{}
}

// simulate plays a schedule and returns the hash of its trace.
func simulate(t *testing.T, seed uint64, log func(string, ...any)) (hash uint64) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, seed, log)
		defer func() {
			if t.Failed() {
				simulated.violations.Add(1)
				t.Logf("to replay: go test ./actors -run TestSimulation -v -sim.seed=%d", seed)
			}
		}()
		s.run()
		hash = s.box.hash
		simulated.schedules.Add(1)
		for _, vol := range s.box.vols {
			simulated.commands.Add(int64(vol.draws)) //nolint:gosec // a count
		}
	})
	return hash
}

func newSimulation(t *testing.T, seed uint64, log func(string, ...any)) *simulation {
	s := &simulation{t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 1)), nodes: &simHosts{lost: map[NodeID]string{}}}
	s.box = &simBox{seed: seed, fail: func(err error) { t.Error(err) }, vols: map[VolumeID]*simVolume{}, log: log}
	for i := range 8 + s.rnd.IntN(3) {
		id := VolumeID(fmt.Sprintf("pvc-0b5e1d4e-3b1c-4f0e-9a57-%012x", i))
		fencing := []Fencing{FencingEpoch, FencingHost, FencingNone}[s.rnd.IntN(3)]
		vol := &simVolume{id: id, witness: newWitness(playNodes...), fencing: fencing, timeout: 30 + s.rnd.IntN(60)}
		vol.row = created(fencing)
		vol.row.ID, vol.row.NQN, vol.row.Ledger.Timeout = id, NQN(testPrefix, id, 0), vol.timeout
		s.box.vols[id], s.box.ids = vol, append(s.box.ids, id)
	}
	return s
}

// run plays the schedule: trouble first, then a calm in which everything must come to rest.
func (s *simulation) run() {
	s.start()
	var callers sync.WaitGroup
	end := time.Now().Add(20*time.Second + time.Duration(s.rnd.Int64N(int64(40*time.Second))))
	for i, id := range s.box.ids {
		for lane := range 2 {
			c := newCaller(s, id, i, lane, end)
			callers.Go(c.run)
		}
	}
	for time.Now().Before(end) && !s.t.Failed() {
		time.Sleep(time.Second + time.Duration(s.rnd.Int64N(int64(8*time.Second))))
		s.atRest()
		s.befall()
	}
	s.box.mu.Lock()
	s.box.calm = true
	s.box.mu.Unlock()
	callers.Wait()
	time.Sleep(4*time.Minute + 11) // a migration's time, settlements, backoffs
	s.atRest()
	s.wantPeace()
	s.stop()
	synctest.Wait()
}

// start starts a driver process on the box.
func (s *simulation) start() {
	p := &simProcess{view: &simView{box: s.box, died: make(chan struct{})}, ended: make(chan struct{})}
	sup, err := New(Config{
		Box: p.view, Nodes: s.nodes, Cluster: testCluster, CommandTimeout: testRules.CommandTimeout,
		Quiet: testRules.CommandTimeout, Linger: 24 * time.Hour, Announcer: simAnnouncer{p.view},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	sup.step = func(st State, now time.Time, ev Event) (State, []Effect) {
		next, effects := Step(st, now, ev)
		s.box.mu.Lock()
		defer s.box.mu.Unlock()
		if !p.view.gone() {
			s.box.vols[st.id].state = &next
		}
		return next, effects
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.sup, p.cancel = sup, cancel
	go func() {
		defer close(p.ended)
		if err := sup.Run(ctx); err != nil {
			s.t.Error(err)
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proc = p
}

func (s *simulation) process() *simProcess {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc
}

// crash kills the process at this instant; what it had sent may land.
func (s *simulation) crash() {
	p := s.leave()
	s.box.crashed(p.view)
	p.cancel()
	<-p.ended
}

// stop ends the process in order: what is in flight is waited for, and told.
func (s *simulation) stop() {
	p := s.leave()
	p.cancel()
	<-p.ended
	s.box.crashed(p.view)
}

// leave takes the process away from its callers.
func (s *simulation) leave() *simProcess {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.proc
	s.proc = nil
	return p
}

// befall does something to the driver, the box or a node.
func (s *simulation) befall() {
	r := s.rnd
	pause := time.Duration(r.Int64N(int64(3*time.Second))) + 1
	node := playNodes[r.IntN(len(playNodes))]
	switch r.IntN(8) {
	case 0, 1:
		s.crash()
		time.Sleep(pause)
		s.start()
	case 2:
		s.stop()
		time.Sleep(pause)
		s.start()
	case 3:
		s.box.reboot(time.Duration(r.Int64N(int64(5*time.Second))), pause)
		time.Sleep(pause + pause/3)
		s.process().sup.Reconcile()
	case 4:
		s.box.mu.Lock()
		s.box.away = time.Now().Add(pause * 5)
		s.box.mu.Unlock()
	case 5:
		s.nodes.set(node, "node is gone")
	case 6:
		s.nodes.set(node, "")
	case 7:
		s.process().sup.Reconcile()
	}
}

// atRest holds every volume to what must be true of it now.
func (s *simulation) atRest() {
	synctest.Wait() // what this instant brings about is over
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	now := time.Now()
	for _, id := range s.box.ids {
		vol := s.box.vols[id]
		vol.expire(now)
		s.box.must(vol, vol.witness.holds(&vol.disk))
		if vol.state != nil {
			s.box.must(vol, vol.witness.atRest(&vol.disk, *vol.state, now))
		}
	}
}

// wantPeace holds the end to P3: nobody waits, nothing is unresolved.
func (s *simulation) wantPeace() {
	if st := s.process().sup.Stats(); st.Unresolved+st.Waiting+st.Quarantined+st.Migrating > 0 {
		s.t.Errorf("P3: in the end %+v", st)
	}
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	for _, id := range s.box.ids {
		for _, a := range s.box.vols[id].witness.asked {
			if !a.gone {
				s.t.Errorf("P3: never answered: %s", asked(a.ev))
			}
		}
	}
}

// A simAnnouncer hands a living process's announcements to the witnesses.
type simAnnouncer struct{ view *simView }

func (a simAnnouncer) Announce(an Announcement) {
	b := a.view.box
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.view.gone() {
		return // nobody scrapes a process that is dead
	}
	vol := b.vols[an.Volume]
	b.note(vol.id, "tells %v %s%s %s", an.Kind, an.Node, an.Source, an.Target)
	b.must(vol, vol.witness.announced(&vol.disk, an))
}

// simHosts are the nodes, some of which are lost.
type simHosts struct {
	mu   sync.Mutex
	lost map[NodeID]string
}

func (n *simHosts) set(node NodeID, why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost[node] = why
}

func (n *simHosts) Check(_ context.Context, _ VolumeID, node NodeID) (string, error) {
	if n.Lost(context.Background(), "", node) != "" {
		return "", fmt.Errorf("node %s is out of service: %w", node, ErrPrecondition)
	}
	return "", nil
}

func (n *simHosts) Lost(_ context.Context, _ VolumeID, node NodeID) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lost[node]
}

// final reports whether csi-attacher would not repeat a request that failed so.
func final(err error) bool {
	return err == nil || errors.Is(err, ErrPrecondition) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrExists)
}
