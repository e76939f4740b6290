// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var (
	exploreDeeper = flag.Int("explore.deeper", 0, "explore larger worlds: 1: a fault more; 2: and a request more; 3: and a nap")
	exploreMost   = flag.Int("explore.most", 0, "give up on a world after this many states; 0: never")
	exploreReplay = flag.String("explore.replay", "", "the trace of a violation, to be played by TestReplay")
)

// explored counts over all worlds, for the line that TestMain prints.
var explored struct{ worlds, states, transitions, violations atomic.Int64 }

// TestExplore visits every state that a small world can reach and holds each to the promises P1 to P6.
//
// The world is one volume and three nodes. Callers ask for anything in the world's alphabet, at any
// moment, two at a time at most and budget.requests times in all, beginning from a volume that is
// not there, detached, attached, or attached to two. The box carries out each row of a command, and answers, at
// any moment. Up to budget.faults times an answer is lost (what was not carried out may land at any
// moment of CommandTimeout, or never), nothing can be sent, the box refuses, the process crashes with
// whatever is in flight, or the box reboots and forgets its last write. A row may be looked at budget.looks
// times, and what was read may be stale when it arrives. Time passes from one moment at
// which anything is due to the next, and budget.naps times in between.
//
// In two of the worlds there is a cluster. What its live answers say is true, if it answers: which grants are
// left over, who may migrate, how KubeVirt's migration stands, who is attached to a volume of the older driver;
// what caches say is not, and KubeVirt may speak at any moment.
//
// Out of bounds: a box that forgets an adoption (it begins to count anew), what foreign hands do to the row, panics, mailboxes (TestSimulation), and time passing
// while a command is in flight but by naps.
func TestExplore(t *testing.T) {
	for _, b := range exploredWorlds() {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			x := newExploration(t, &b)
			began := time.Now()
			x.run()
			x.restAll()
			explored.worlds.Add(1)
			explored.states.Add(int64(len(x.parents)))
			explored.transitions.Add(int64(x.transitions))
			t.Logf("%d states, %d transitions in %v", len(x.parents), x.transitions, time.Since(began).Round(time.Millisecond))
		})
	}
}

// exploredBudget returns what may happen in a world.
func exploredBudget() budget {
	b := budget{requests: 2, faults: 1, looks: 1}
	if raceDetector || testing.Short() {
		b.requests, b.looks = 1, 0
	}
	if *exploreDeeper > 0 {
		b.faults++
	}
	if *exploreDeeper > 1 {
		b.requests++
	}
	if *exploreDeeper > 2 {
		b.naps++
	}
	return b
}

// tellExplored prints what the exploration and the simulation have covered, if they ran.
func tellExplored(to io.Writer) {
	if n := explored.worlds.Load(); n > 0 {
		_, _ = fmt.Fprintf(to, "explored %s states, %s transitions in %d small worlds, %d violations\n",
			grouped(explored.states.Load()), grouped(explored.transitions.Load()), n, explored.violations.Load())
	}
	if n := simulated.schedules.Load(); n > 0 {
		_, _ = fmt.Fprintf(to, "simulated %s schedules of %s commands, %d violations\n",
			grouped(n), grouped(simulated.commands.Load()), simulated.violations.Load())
	}
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// exploredWorlds are the worlds of TestExplore: each access mode with each fencing mode, and those with a
// cluster that is asked.
func exploredWorlds() []bounds {
	var all []bounds
	for _, fencing := range []Fencing{FencingEpoch, FencingHost, FencingNone} {
		for _, access := range []Access{AccessSingle, AccessReader, AccessShared} {
			if fencing == FencingNone && access != AccessShared {
				continue // it differs from epoch by what is written, not by when
			}
			all = append(all, bounds{
				name: fencing.String() + "/" + access.String(), fencing: fencing, concurrent: 2,
				alphabet: alphabet(access), spare: exploredBudget(),
			})
		}
	}
	// A cluster's answers make a world large: what it says by itself and what goes wrong are explored apart.
	cluster := bounds{name: "cluster", fencing: FencingEpoch, concurrent: 2, orchestrated: true, alphabet: alphabet(AccessShared)}
	cluster.spare = budget{requests: 1, looks: 1}
	faulty := cluster
	faulty.name, faulty.spare = "faulty-cluster", budget{requests: 1, faults: 1}
	if *exploreDeeper > 0 {
		cluster.spare.faults++
		faulty.spare.requests++
	}
	if raceDetector {
		cluster.spare.looks = 0
	}
	all = append(all, cluster)
	if !raceDetector && !testing.Short() {
		all = append(all, faulty)
	}
	return all
}

// alphabet returns what callers may ask for: everything of each node, one publish with another access
// mode, and the operations on the disk; that it be made only where one node may have it, to keep the others small.
func alphabet(access Access) []Event {
	var evs []Event
	for _, node := range playNodes {
		evs = append(evs, Publish{Node: node, Access: access}, Unpublish{Node: node}, Unpublish{Node: node, Lost: "gone"})
	}
	evs = append(evs, Unpublish{})
	kinds := []OpKind{OpDelete, OpExpand}
	if access == AccessSingle {
		kinds = append(kinds, OpCreate)
	}
	for _, kind := range kinds {
		evs = append(evs, Exclusive{Op: Operation{Kind: kind}})
	}
	return evs
}

// An exploration is the breadth-first walk through one world.
type exploration struct {
	t           *testing.T
	bounds      *bounds
	roots       []*world
	seen        map[worldKey]int32
	parents     []step
	rests       []int32 // by state: the one to which it comes if all goes well; itself if it is at rest
	queue       []*world
	transitions int
	enc         encoder
}

// step is how a state was first reached.
type step struct {
	parent int32 // -1-n: it is the nth root
	act    act
}

func newExploration(t *testing.T, b *bounds) *exploration {
	return &exploration{t: t, bounds: b, roots: roots(t, b), seen: map[worldKey]int32{}}
}

// roots returns the worlds from which the walk begins.
func roots(t *testing.T, b *bounds) []*world {
	row := created(b.fencing)
	row.Ledger.Timeout = 60
	fresh := &world{
		disk: disk{row: row, orchestrated: b.orchestrated}, witness: newWitness(playNodes...),
		s: NewState(testVolume, b.rules()), now: testStart, bounds: b,
	}
	all := []*world{fresh}
	for _, ev := range []Event{b.alphabet[0], b.alphabet[3]} {
		w := all[len(all)-1].clone()
		if p, _ := ev.(Publish); p.Access == AccessSingle && len(all) == 2 {
			break
		}
		if err := w.ask(ev); err != nil {
			t.Fatal(err)
		}
		for a, more := w.wellAct(); more && (w.flight.effect != nil || len(w.witness.asked) > 0); a, more = w.wellAct() {
			var err error
			if w, err = w.take(a); err != nil {
				t.Fatal(err)
			}
		}
		w.now = w.now.Add(nap)
		all = append(all, w)
	}
	if p, _ := b.alphabet[0].(Publish); p.Access == AccessSingle {
		gone := fresh.clone()
		gone.row = Volume{ID: testVolume}
		all = append(all, gone)
	}
	if b.orchestrated {
		all = append(all, legacyRoots(fresh)...)
	}
	for _, w := range all {
		w.spare = b.spare
	}
	return all
}

// wellAct returns what happens next where all goes well, and false if nothing is left to happen.
func (w *world) wellAct() (act, bool) {
	due := w.s.Deadline()
	switch write, writing := writeOf(w.flight.effect); {
	case w.flight.dead:
		return act{verb: verbLose}, true
	case w.flight.effect != nil && w.flight.served == 0 && len(w.sayings()) > 0:
		return act{verbServe, int(w.sayings()[0])}, true
	case w.watches():
		return act{}, false
	case writing && w.flight.served < len(write.Rows), w.flight.effect != nil && w.flight.served == 0:
		return act{verb: verbServe}, true
	case w.flight.effect != nil:
		return act{verb: verbAnswer}, true
	case !due.IsZero() && !due.After(w.now):
		return act{verb: verbTick}, true
	case !w.next().IsZero():
		return act{verb: verbWait}, true
	case !w.s.known && !w.s.look:
		return act{verb: verbObserve}, true
	}
	return act{}, false
}

func (x *exploration) run() {
	for i, w := range x.roots {
		x.arrive(w, step{parent: int32(-1 - i)})
	}
	var acts []act
	for at := int32(0); len(x.queue) > 0; at++ {
		if explored.violations.Load() > 0 {
			x.t.Skip("a promise is broken in another world")
		}
		w := x.queue[0]
		x.queue[0], x.queue = nil, x.queue[1:]
		well, goes := w.wellAct()
		x.rests = append(x.rests, at)
		if !goes {
			x.restful(at, w)
		}
		acts = w.acts(acts[:0])
		for _, a := range acts {
			x.transitions++
			next, err := w.take(a)
			if err != nil {
				x.violated(at, a, err)
			}
			to := x.arrive(next, step{at, a})
			if goes && a == well {
				x.rests[at] = to
			}
		}
		if *exploreMost > 0 && len(x.parents) > *exploreMost {
			x.t.Fatalf("more than %d states; %d are left to visit", *exploreMost, len(x.queue))
		}
	}
}

// arrive notes a state, to be visited if it was never seen.
func (x *exploration) arrive(w *world, how step) int32 {
	k := w.key(&x.enc)
	if i, ok := x.seen[k]; ok {
		return i
	}
	i := int32(len(x.parents))
	x.seen[k] = i
	x.parents = append(x.parents, how)
	x.queue = append(x.queue, w)
	return i
}

// restful holds a world in which nothing is left to happen to P3: everybody was answered, and the actor
// may retire.
func (x *exploration) restful(at int32, w *world) {
	switch {
	case len(w.witness.asked) > 0:
		x.violated(at, act{}, fmt.Errorf("P3: never answered: %+v", w.witness.asked))
	case !w.s.Idle() && !w.watches():
		x.violated(at, act{}, fmt.Errorf("never idle: %+v", w.s))
	}
}

// restAll holds every state to coming to rest if all goes well from there.
func (x *exploration) restAll() {
	const unknown, under, ends = 0, 1, 2
	marks := make([]byte, len(x.rests))
	var path []int32
	for i := range x.rests {
		path = path[:0]
		at := int32(i)
		for ; marks[at] == unknown && x.rests[at] != at; at = x.rests[at] {
			marks[at] = under
			path = append(path, at)
		}
		if marks[at] == under {
			x.violated(at, act{}, fmt.Errorf("P3: it never comes to rest although all goes well"))
		}
		marks[at] = ends
		for _, p := range path {
			marks[p] = ends
		}
	}
}

// violated ends the test with the shortest trace.
func (x *exploration) violated(at int32, last act, err error) {
	x.t.Helper()
	explored.violations.Add(1)
	acts := []act{last}
	for ; at >= 0 && x.parents[at].parent >= 0; at = x.parents[at].parent {
		acts = append([]act{x.parents[at].act}, acts...)
	}
	root := -1 - x.parents[at].parent
	var b strings.Builder
	_, _ = x.roots[root].replay(acts, func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) })
	x.t.Fatalf("%v\n%s\nto replay: go test ./actors -run TestReplay -explore.replay='%s %d %s'",
		err, b.String(), x.bounds.name, root, x.bounds.spell(acts))
}
