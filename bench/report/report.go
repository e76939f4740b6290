// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"math"
	"slices"
	"time"

	"github.com/rds-csi/rds-csi/bench/workload"
)

// A Report is what a benchmark writes down. Its JSON form is for programs that compare runs.
type Report struct {
	Machine  Machine  `json:"machine"`
	Settings Settings `json:"settings"`
	Rows     []Row    `json:"rows"`
	CPU      []CPU    `json:"cpu"`

	curves []curve
}

// A Machine is where it was measured.
type Machine struct {
	Platform string `json:"platform"` // GOOS/GOARCH
	CPUs     int    `json:"cpus"`
	Go       string `json:"go"`
	Driver   string `json:"driver"`         // what its version command prints
	Load     string `json:"load,omitempty"` // load averages at the start, where the system tells
}

// Settings are those of the storm.
type Settings struct {
	Volumes     int     `json:"volumes"`
	Nodes       int     `json:"nodes"`
	Workers     int     `json:"workers"`
	Rounds      int     `json:"rounds"`
	ServiceTime float64 `json:"service_time_ms"` // of one command of the box
}

// A CPU is what one process spent in all rounds, with its start and end.
type CPU struct {
	Process string  `json:"process"`
	Seconds float64 `json:"seconds"`
}

// A Row is one phase of one driver, all rounds together. Times are in milliseconds.
type Row struct {
	Phase     string  `json:"phase"`
	Driver    string  `json:"driver"`
	Calls     int     `json:"calls"`
	PerSecond float64 `json:"calls_per_second"` // all calls by the time of all rounds
	Slowest   float64 `json:"slowest_round_calls_per_second"`
	Fastest   float64 `json:"fastest_round_calls_per_second"`
	P50       float64 `json:"p50_ms"`
	P90       float64 `json:"p90_ms"`
	P99       float64 `json:"p99_ms"`
	Max       float64 `json:"max_ms"`
	// Commands is how many commands the box was sent for each call. Nil: they were not counted.
	Commands *float64 `json:"box_commands_per_call,omitempty"`
	// Kinds is how many commands of each kind there were in all.
	Kinds map[string]float64 `json:"box_commands,omitempty"`
	// Ratio is PerSecond divided by that of the baseline in the same run. Nil: it is the baseline.
	Ratio *float64 `json:"ratio_to_baseline,omitempty"`
}

// A Driver is what was measured of one driver: the phases of each round.
type Driver struct {
	Name   string
	Rounds [][]workload.Phase
}

// New reports on a driver beside a baseline. Both had the same storms.
func New(machine Machine, settings Settings, driver, baseline Driver) Report {
	r := Report{Machine: machine, Settings: settings}
	base := baseline.gather()
	for _, g := range driver.gather() {
		row := g.row(driver.Name)
		r.add(row, g)
		i := slices.IndexFunc(base, func(b gathered) bool { return b.name == g.name })
		if i < 0 {
			continue
		}
		other := base[i].row(baseline.Name)
		ratio := row.PerSecond / other.PerSecond
		r.Rows[len(r.Rows)-1].Ratio = &ratio
		r.add(other, base[i])
	}
	return r
}

func (r *Report) add(row Row, g gathered) {
	r.Rows = append(r.Rows, row)
	r.curves = append(r.curves, curve{phase: row.Phase, driver: row.Driver, sorted: g.latencies})
}

// gathered is one phase over all rounds.
type gathered struct {
	name      string
	elapsed   time.Duration
	latencies []time.Duration // ascending
	commands  map[string]float64
	uncounted bool      // some time, or always
	rates     []float64 // of each time the phase ran
}

// gather puts the phases of one name together, in the order of their first appearance.
func (d Driver) gather() []gathered {
	var all []gathered
	for _, round := range d.Rounds {
		for _, p := range round {
			i := slices.IndexFunc(all, func(g gathered) bool { return g.name == p.Name })
			if i < 0 {
				i = len(all)
				all = append(all, gathered{name: p.Name, commands: map[string]float64{}})
			}
			g := &all[i]
			g.elapsed += p.Elapsed
			g.latencies = append(g.latencies, p.Latencies...)
			g.rates = append(g.rates, perSecond(len(p.Latencies), p.Elapsed))
			g.uncounted = g.uncounted || p.Commands == nil
			for kind, n := range p.Commands {
				g.commands[kind] += n
			}
		}
	}
	for _, g := range all {
		slices.Sort(g.latencies)
	}
	return all
}

func (g gathered) row(driver string) Row {
	r := Row{
		Phase: g.name, Driver: driver, Calls: len(g.latencies),
		PerSecond: perSecond(len(g.latencies), g.elapsed), Slowest: slices.Min(g.rates), Fastest: slices.Max(g.rates),
		P50: ms(Quantile(g.latencies, 0.5)), P90: ms(Quantile(g.latencies, 0.9)), P99: ms(Quantile(g.latencies, 0.99)),
		Max: ms(Quantile(g.latencies, 1)),
	}
	if g.uncounted || r.Calls == 0 {
		return r
	}
	per := 0.0
	for _, n := range g.commands {
		per += n / float64(r.Calls)
	}
	r.Commands, r.Kinds = &per, g.commands
	return r
}

// Quantile returns the smallest measured value that at least the share q of all does not exceed
// (nearest rank): a value that was seen, never one in between. sorted ascends, q is above 0 and at most
// 1. Of nothing it is 0.
func Quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	// The product of two exact numbers may come out a hair too large, which would skip a rank.
	rank := int(math.Ceil(q*float64(len(sorted)) - 1e-9))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func perSecond(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
