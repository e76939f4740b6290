// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/actors"
)

// matrixEnv is the environment variable that chooses cells; "all": every cell. CONTRIBUTING.md describes it.
const matrixEnv = "RDS_MATRIX"

// matrixSummary is what TestMain prints in the end: how large the matrix was, if it ran.
var matrixSummary string

// matrixReserve is how long before the deadline of go test no life begins any more: on a machine that is too
// busy the matrix fails and says how much it has left out.
const matrixReserve = 3 * time.Minute

// TestMatrix leads volumes from their creation to their end, through the real CSI controller, actors and
// sessions, on simulated boxes: under every switch, with every trouble at every command of the life, over
// every transport. After each answer the box must show what was answered, and at the end nothing of the
// volume, and all that was there before as it was. See plan for the cells that are left out by default.
//
// One cell is run by its name: -run 'TestMatrix/ssh/HideExport/drop-after/host/disk-set-3'.
func TestMatrix(t *testing.T) {
	if testing.Short() {
		t.Skip("the matrix takes minutes")
	}
	t.Parallel()                                      // with tests that wait most of their time
	defer debug.SetGCPercent(debug.SetGCPercent(600)) // many small boxes, and memory for all
	ctx, stop := context.WithCancel(t.Context())
	places := 64 * runtime.GOMAXPROCS(0)
	m := &matrix{
		template: newTemplate(t), places: make(chan struct{}, places), pace: newPace(ctx, places),
		most: map[transport]int{},
	}
	defer func() {
		stop()
		<-m.pace.done
	}()
	var groups sync.WaitGroup
	for _, via := range []transport{overAPI, overSSH, overTLS} {
		for i, v := range variations() {
			groups.Go(func() {
				m.places <- struct{}{}
				defer func() { <-m.places }()
				t.Run(string(via)+"/"+v.name, func(t *testing.T) {
					g := &group{m: m, t: t, ctx: ctx, via: via, v: v}
					g.run(plan(via, i))
				})
			})
		}
	}
	groups.Wait()
	m.report(t)
}

// A matrix is what its groups share.
type matrix struct {
	template *template
	places   chan struct{} // one entry for each box that runs
	pace     *pace

	lives atomic.Int64 // whose trouble met its command
	wrong atomic.Int64 // lives with a disagreement, and boxes with one when they were closed
	unled atomic.Int64 // lives for which no time was left
	spare atomic.Int64 // listings that two readers had for themselves only when the life was recorded

	mu   sync.Mutex
	most map[transport]int // commands of the longest life
}

// report says how large the matrix was.
func (m *matrix) report(t *testing.T) {
	cells := "changes in full over api, the rest by pairs"
	switch {
	case os.Getenv(matrixEnv) == "all":
		cells = "all"
	case raceDetector:
		cells = "by pairs"
	}
	matrixSummary = fmt.Sprintf("matrix: %d switches × %d faults × %d commands (api), %d (tls), %d (ssh), %s: %d lives, %d disagreements",
		len(variations()), len(troubles()), m.most[overAPI], m.most[overTLS], m.most[overSSH], cells, m.lives.Load(), m.wrong.Load())
	if n := m.spare.Load(); n > 0 {
		matrixSummary += fmt.Sprintf(", %d listings did not come, for readers shared them", n)
	}
	if n := m.unled.Load(); n > 0 {
		matrixSummary += fmt.Sprintf(", %d not led", n)
		t.Errorf("for %d lives no time was left: give go test a larger -timeout", n)
	}
}

// A group is the cells of one switch over one transport, and a box on which they are led one after the other.
type group struct {
	m   *matrix
	t   *testing.T
	ctx context.Context
	via transport
	v   variation
	box *matrixBox
	n   int // of the last volume
}

// run leads the lives that are chosen. Over the API, where they are most, they share some boxes.
func (g *group) run(chosen choice) {
	boxes := []*group{g}
	for g.via == overAPI && !raceDetector && len(boxes) < 4 {
		another := *g
		boxes = append(boxes, &another)
	}
	g.start()
	cells := g.cells(chosen)
	queue := make(chan cell, len(cells))
	for _, c := range cells {
		queue <- c
	}
	close(queue)
	for _, b := range boxes[1:] {
		b.start()
	}
	var leading sync.WaitGroup
	for _, b := range boxes {
		leading.Go(func() { b.work(queue) })
	}
	leading.Wait()
}

// work leads the lives of a queue.
func (g *group) work(queue <-chan cell) {
	defer func() {
		if err := g.box.close(); err != nil {
			g.m.wrong.Add(1)
			g.t.Errorf("at the end of the box: %v", err)
		}
	}()
	end, bounded := g.t.Deadline()
	for c := range queue {
		if bounded && time.Until(end) < matrixReserve {
			g.m.unled.Add(1)
			continue
		}
		g.t.Run(c.String(), func(t *testing.T) { g.meet(t, c) })
	}
}

// meet leads a life whose trouble meets its command. Two readers may share a listing that each had for itself
// when the life was recorded, so that the last one does not come: then the life is led again, and where it
// never comes there is one listing less, of which the one before is met. Any other command that never comes
// is a fault of the matrix.
func (g *group) meet(t *testing.T, c cell) {
	for range 5 {
		if err := g.lead(c.trouble, c.fencing, c.at); err != nil {
			g.m.wrong.Add(1)
			t.Error(err)
			if err := g.box.close(); err != nil {
				t.Errorf("at the end of the box: %v", err)
			}
			g.start()
			return
		}
		if g.box.injector.hit() {
			g.m.lives.Add(1)
			return
		}
	}
	if c.last && c.at.name == listing {
		g.m.spare.Add(1)
		return
	}
	t.Errorf("in five lives there was no %s", c.at)
}

// start starts the box.
func (g *group) start() {
	if err := g.m.pace.begin(g.ctx); err != nil {
		g.t.Fatal(err)
	}
	defer g.m.pace.end()
	g.box = g.m.template.start(g.ctx, g.t, g.via, g.v)
}

// lead leads one life.
func (g *group) lead(tr *trouble, f actors.Fencing, at occurrence) error {
	if err := g.m.pace.begin(g.ctx); err != nil {
		return err
	}
	defer g.m.pace.end()
	g.n++
	g.box.injector.arm(tr, at)
	l := &life{matrixBox: g.box, id: matrixID(g.n), fencing: f, trouble: tr, variation: g.v}
	return l.live(g.ctx)
}

// record returns the commands of a life without trouble. The first life on a box logs in, and waits for
// what an earlier driver may have sent; on a busy machine some command is late and comes twice. Two lives
// that are alike are as they should be.
func (g *group) record(f actors.Fencing) []occurrence {
	var before []occurrence
	for range 50 {
		if err := g.lead(nil, f, occurrence{}); err != nil {
			g.t.Fatalf("without trouble, fencing %s: %v", f, err)
		}
		life := g.box.injector.life()
		if slices.Equal(before, life) {
			return life
		}
		before = life
	}
	g.t.Fatalf("of 50 lives without trouble, fencing %s, no two in a row were alike", f)
	return nil
}

// listing is the command whose answer readers share.
const listing = "/disk/print"

// A cell is one life of the matrix: what goes wrong, and where.
type cell struct {
	trouble *trouble
	fencing actors.Fencing
	at      occurrence
	last    bool // of its name in the life that was recorded
}

// String returns the cell's name within its group: trouble/fencing/command.
func (c cell) String() string {
	return fmt.Sprintf("%s/%s/%s-%d", c.trouble.name, c.fencing, strings.ReplaceAll(strings.TrimPrefix(c.at.name, "/"), "/", "-"), c.at.n)
}

// cells returns those cells of the group that are chosen.
func (g *group) cells(chosen choice) (cells []cell) {
	fencings := []actors.Fencing{actors.FencingEpoch, actors.FencingHost, actors.FencingNone}
	recorded := make([][]occurrence, len(fencings))
	most := 0
	for i, f := range fencings {
		recorded[i] = g.record(f)
		most = max(most, len(recorded[i]))
	}
	g.m.mu.Lock()
	g.m.most[g.via] = max(g.m.most[g.via], most)
	g.m.mu.Unlock()
	for i, tr := range troubles() {
		for c := range most {
			for k, f := range fencings {
				if c < len(recorded[k]) && chosen(i, c, k, recorded[k][c]) {
					at := recorded[k][c]
					last := !slices.Contains(recorded[k], occurrence{name: at.name, n: at.n + 1})
					cells = append(cells, cell{&tr, f, at, last})
				}
			}
		}
	}
	return cells
}

// A choice chooses cells of a group, by the numbers of trouble, command and fencing, and the command.
type choice func(trouble, command, fencing int, at occurrence) bool

// plan returns the cells of a switch over a transport. All of them take hours, so that by default
//
//   - over the API each change meets every trouble under every switch, and what only reads meets every
//     trouble, and is there under every switch; under the race detector a change does as what only reads;
//   - over the API with TLS each switch meets every trouble and has trouble at every command, and so has
//     each trouble each command; under the race detector each trouble meets each command;
//   - over SSH each trouble meets each command, and each switch meets every trouble;
//   - the three ways of fencing take turns.
func plan(via transport, sw int) choice {
	const fencings = 3
	faults, switches := len(troubles()), len(variations())
	if os.Getenv(matrixEnv) == "all" {
		return func(int, int, int, occurrence) bool { return true }
	}
	return func(trouble, command, fencing int, at occurrence) bool {
		switch {
		case (sw+trouble+command)%fencings != fencing:
			return false
		case via == overSSH, via == overTLS && raceDetector:
			return (trouble+command)%switches == sw
		case via == overAPI && at.changes() && !raceDetector:
			return true
		}
		return (sw+command)%faults == trouble
	}
}

// TestMatrixPlan holds what plan promises of the cells that are left out.
func TestMatrixPlan(t *testing.T) {
	faults, switches := len(troubles()), len(variations())
	for via, commands := range map[transport]int{overAPI: 31, overTLS: 31, overSSH: 45} {
		met := map[[3]int]bool{} // two of switch, trouble and command; the third is -1
		for sw := range switches {
			chosen := plan(via, sw)
			for tr := range faults {
				for c := range commands {
					if slices.ContainsFunc([]int{0, 1, 2}, func(f int) bool { return chosen(tr, c, f, occurrence{name: "/disk/print"}) }) {
						met[[3]int{sw, tr, -1}], met[[3]int{-1, tr, c}], met[[3]int{sw, -1, c}] = true, true, true
					}
				}
			}
		}
		want := switches*faults + faults*commands + switches*commands
		for pair := range met {
			switch { // what a switch need not meet
			case via == overSSH && pair[1] < 0, via == overTLS && raceDetector && pair[0] >= 0:
				delete(met, pair)
			}
		}
		switch {
		case via == overSSH:
			want -= switches * commands
		case via == overTLS && raceDetector:
			want = faults * commands
		}
		if len(met) != want {
			t.Errorf("%s: %d pairs are met, want %d", via, len(met), want)
		}
	}
}
