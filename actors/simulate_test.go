// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	simSeeds = flag.Uint64("sim.seeds", 0, "simulate this many schedules; 0: 10000, or 150 under the race detector")
	simFirst = flag.Uint64("sim.first", 0, "begin with this seed")
	simSeed  = flag.Int64("sim.seed", -1, "simulate this one schedule and tell what happens in it; -1: many")
)

// simulated counts over all schedules, for the line that TestMain prints.
var simulated struct{ schedules, commands, violations atomic.Int64 }

// TestSimulation plays schedules of a whole driver: the real supervisor and loops, and the real sessions with the simulated
// box, under synctest; many volumes on one box; callers that repeat what fails as csi-attacher does. The seed decides how
// long each command takes, which are refused, which answers are lost and what lands late, when sessions end, when the box
// reboots and what it forgets, when a process is killed or stopped and the next one starts, which nodes are lost, and who
// migrates where.
//
// Three of four schedules have a cluster. Its VolumeAttachments appear, are deleted, lose their finalizers
// and come back out of a backup, and caches lag behind; KubeVirt says how a migration stands before, after
// or never, and forgets; all of it is unreachable for a while, or revokes are frozen; a person releases what
// waits for one; and some volumes are the older driver's, or another cluster's.
//
// Each moment is held to the promises P1 to P7; at the end everything is answered and at rest, no outcome is
// owed and nothing is left over.
//
// Out of bounds: a box that forgets an adoption, or a disk that was added or removed.
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
		seeds = 150
	default:
		seeds = 10000
	}
	// Each schedule leaves its box behind: memory that is there is cheaper than collecting it over and over.
	collected := debug.SetGCPercent(800)
	t.Cleanup(func() { debug.SetGCPercent(collected) })
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
	t    *testing.T
	seed uint64
	box  *simBox
	rnd  *rand.Rand // of what befalls the driver, the box and the cluster

	cluster *simCluster

	hand bool // a person's command decides; the box's lock holds it, and
	asks int  // how many requests are being served

	mu   sync.Mutex
	proc *simProcess // nil: none is up
}

// A simProcess is one run of the driver.
type simProcess struct {
	sup    *Supervisor
	view   *simView
	asks   *simOrchestrator
	cancel context.CancelFunc
	ended  chan struct{}
}

// filled reports whether its caches are.
func (p *simProcess) filled() bool { return !time.Now().Before(p.asks.filled) }

// simulate plays a schedule and returns the hash of its trace.
func simulate(t *testing.T, seed uint64, log func(string, ...any)) (hash uint64) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, seed, log)
		defer s.box.end()
		defer func() {
			if t.Failed() {
				simulated.violations.Add(1)
				t.Logf("to replay: go test ./actors -run TestSimulation -v -sim.seed=%d", seed)
			}
		}()
		s.run()
		hash = s.box.hash
		simulated.schedules.Add(1)
		simulated.commands.Add(int64(s.box.Commands()))
	})
	return hash
}

func newSimulation(t *testing.T, seed uint64, log func(string, ...any)) *simulation {
	s := &simulation{t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 1))}
	s.box = &simBox{seed: seed, dir: t.TempDir(), fail: func(err error) { t.Error(err) }, vols: map[VolumeID]*simVolume{}, log: log, living: s.process}
	s.cluster = &simCluster{
		box: s.box, lost: map[NodeID]string{},
		asked: seed%4 != 0, kubevirt: s.rnd.IntN(5) > 0, limit: []int{3, 3, 1, -1}[s.rnd.IntN(4)],
	}
	s.box.cluster = s.cluster
	for i := range 5 + s.rnd.IntN(3) {
		vol := s.newVolume(i)
		s.box.vols[vol.id], s.box.ids = vol, append(s.box.ids, vol.id)
	}
	s.box.begin()
	return s
}

// newVolume makes a volume of this driver's, or, where there is somebody to ask, one that another driver
// or another cluster has left.
func (s *simulation) newVolume(i int) *simVolume {
	r := s.rnd
	id := VolumeID(fmt.Sprintf("pvc-0b5e1d4e-3b1c-4f0e-9a57-%012x", i))
	vol := &simVolume{id: id, witness: newWitness(playNodes...), timeout: 30 + r.IntN(60)}
	vol.fencing = []Fencing{FencingEpoch, FencingHost, FencingNone}[r.IntN(3)]
	vol.access = []Access{AccessShared, AccessShared, AccessSingle, AccessReader}[r.IntN(4)]
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	vol.salt, vol.orchestrated = h.Sum64(), s.cluster.asked
	vol.row = vol.created()
	if !s.cluster.asked || r.IntN(5) > 0 {
		return vol
	}
	nodes := playNodes[:r.IntN(map[Access]int{AccessSingle: 2, AccessShared: 3, AccessReader: 4}[vol.access])]
	if r.IntN(3) == 0 {
		if nodes = nodes[:min(len(nodes), 1)]; vol.fencing == FencingHost {
			nodes = nil // under their names in that cluster nobody is let in by this one
		}
		vol.row.Ledger.Cluster, vol.row.Ledger.Epoch = foreignCluster, TokenAt(time.Now().Add(-time.Hour))
		vol.row.NQN, vol.row.Export = NQN(testPrefix, id, vol.row.Ledger.Epoch), len(nodes) > 0 || vol.fencing == FencingNone
		for _, n := range nodes {
			vol.row.Ledger.Access = vol.access
			vol.row.Ledger.Grants = []Grant{{Node: n, At: vol.row.Ledger.Epoch}}
		}
	} else {
		vol.row = older(vol.row)
		if r.IntN(3) == 0 {
			vol.strange = time.Now().Add(time.Duration(r.Int64N(int64(20 * time.Second))))
		}
	}
	vol.witness.inherits(&vol.disk, nodes...)
	for k, n := range nodes {
		a := vol.attachment(n)
		a.simObject = simObject{wanted: true, attached: true, since: time.Now().Add(time.Duration(k-10) * time.Second), nqn: vol.row.NQN}
		a.uses = true
	}
	return vol
}

// created returns the volume's row as this driver makes it.
func (vol *simVolume) created() Volume {
	row := created(vol.fencing)
	row.ID, row.NQN, row.Ledger.Timeout = vol.id, NQN(testPrefix, vol.id, 0), vol.timeout
	return row
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
	s.cluster.away, s.cluster.unmapped, s.cluster.frozen, s.cluster.lag = time.Time{}, time.Time{}, false, 0
	s.box.mu.Unlock()
	callers.Wait()
	for range 2 { // a migration's time, settlements, backoffs
		time.Sleep(75*time.Second + 3)
		s.care()
	}
	time.Sleep(90*time.Second + 11)
	s.atRest()
	s.wantPeace()
	s.stop()
	synctest.Wait()
}

// start starts a driver process on the box.
func (s *simulation) start() {
	driver, err := s.box.Connect()
	if err != nil {
		s.t.Fatal(err)
	}
	p := &simProcess{view: &simView{box: s.box, driver: driver, died: make(chan struct{})}, ended: make(chan struct{})}
	fills := time.Duration(s.rnd.Int64N(int64(8 * time.Second)))
	p.asks = &simOrchestrator{simCluster: s.cluster, view: p.view, filled: time.Now().Add(fills)}
	cfg := Config{
		Box: p.view, Nodes: s.cluster, Cluster: testCluster, CommandTimeout: testRules.CommandTimeout,
		Quiet: testRules.CommandTimeout, Linger: 24 * time.Hour, Announcer: simAnnouncer{p.view},
	}
	if s.cluster.asked {
		cfg.Orchestrator, cfg.StaleLimit, cfg.Frozen = p.asks, s.cluster.limit, s.cluster.freeze
	}
	sup, err := New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	sup.step = func(st State, now time.Time, ev Event) (State, []Effect) { return s.step(p, st, now, ev) }
	ctx, cancel := context.WithCancel(context.Background())
	p.sup, p.cancel = sup, cancel
	go func() {
		defer close(p.ended)
		if err := sup.Run(ctx); err != nil {
			s.t.Error(err)
		}
	}()
	s.mu.Lock()
	s.proc = p
	s.mu.Unlock()
	s.box.mu.Lock()
	for _, vol := range s.box.vols {
		vol.busy = time.Now().Add(cfg.Quiet)
	}
	s.box.mu.Unlock()
	if s.cluster.asked {
		time.AfterFunc(fills+5*time.Millisecond, func() {
			s.cluster.tellAll()
			p.sup.Recheck()
		})
	}
}

// step is Step, with somebody who watches what actors hear.
func (s *simulation) step(p *simProcess, st State, now time.Time, ev Event) (State, []Effect) {
	vol := s.box.vols[st.id]
	next, effects := Step(st, now, ev)
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	if p.view.gone() {
		return next, effects
	}
	if s.cluster.asked {
		s.cluster.hears(vol, st, ev)
		if next.settling != nil || len(next.queue) > 0 || len(st.queue) > 0 {
			vol.busy = later(vol.busy, now)
		}
	}
	vol.state = &next
	return next, effects
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
	p.view.driver.Close()
	<-p.ended
}

// stop ends the process in order: what is in flight is waited for, and told.
func (s *simulation) stop() {
	p := s.leave()
	p.cancel()
	<-p.ended
	s.box.crashed(p.view)
	p.view.driver.Close()
}

// leave takes the process away from its callers.
func (s *simulation) leave() *simProcess {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.proc
	s.proc = nil
	return p
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
		if vol.state != nil && !vol.shrunk {
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
	if s.cluster.asked {
		s.wantTidy()
	}
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
	if b.cluster.asked {
		b.must(vol, vol.fair(an, time.Now()))
		if an.Kind == Attached {
			vol.attaches(an.Node)
		}
	}
	b.must(vol, vol.witness.announced(&vol.disk, an))
}

// final reports whether csi-attacher would not repeat a request that failed so.
func final(err error) bool {
	return err == nil || errors.Is(err, ErrPrecondition) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrExists)
}
