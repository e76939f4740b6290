// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/bench/report"
	"github.com/rds-csi/rds-csi/bench/workload"
)

// upTo returns 1 ms, 2 ms and so on.
func upTo(n int) []time.Duration {
	d := make([]time.Duration, n)
	for i := range d {
		d[i] = time.Duration(i+1) * time.Millisecond
	}
	return d
}

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		n    int
		q    float64
		want int // milliseconds
	}{
		{0, 0.5, 0},
		{1, 0.01, 1},
		{1, 0.5, 1},
		{1, 1, 1},
		{2, 0.5, 1},
		{2, 0.51, 2},
		{3, 0.5, 2},
		{10, 0.9, 9},
		{10, 0.91, 10},
		{10, 0.99, 10},
		{100, 0.5, 50},
		{100, 0.07, 7},
		{100, 0.9, 90},
		{100, 0.99, 99},
		{100, 0.991, 100},
		{100, 1, 100},
		{200, 0.99, 198},
		{1000, 0.57, 570},
	} {
		if got := report.Quantile(upTo(c.n), c.q); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("quantile %v of 1..%d ms is %v, want %d ms", c.q, c.n, got, c.want)
		}
	}
}

// example is a driver with two rounds of two phases beside a baseline.
func example() report.Report {
	return report.New(
		report.Machine{Platform: "linux/amd64", CPUs: 2, Go: "go1.26", Driver: "rds-csi v1", Load: "0.1 0.2 0.3"},
		report.Settings{Volumes: 100, Nodes: 3, Workers: 4, Rounds: 2, ServiceTime: 5},
		report.Driver{Name: "rds-csi", Rounds: [][]workload.Phase{
			{
				{Name: "attach", Elapsed: 2 * time.Second, Latencies: reversed(upTo(100)), Commands: map[string]float64{"set": 100}},
				{Name: "detach", Elapsed: time.Second, Latencies: upTo(10)},
				{Name: "detach", Elapsed: time.Second, Latencies: upTo(10), Commands: map[string]float64{"set": 10}},
			},
			{{Name: "attach", Elapsed: time.Second, Latencies: upTo(100), Commands: map[string]float64{"set": 100, "print": 50}}},
		}},
		report.Driver{Name: "instant", Rounds: [][]workload.Phase{
			{{Name: "attach", Elapsed: 250 * time.Millisecond, Latencies: []time.Duration{time.Millisecond, 30 * time.Microsecond}}},
		}},
	)
}

func reversed(d []time.Duration) []time.Duration {
	for i, j := 0, len(d)-1; i < j; i, j = i+1, j-1 {
		d[i], d[j] = d[j], d[i]
	}
	return d
}

func TestNew(t *testing.T) {
	r := example()
	if len(r.Rows) != 3 {
		t.Fatalf("%d rows, want 3: attach of both, detach of one", len(r.Rows))
	}
	attach, base, detach := r.Rows[0], r.Rows[1], r.Rows[2]
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-9 {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	if attach.Calls != 200 || base.Calls != 2 || detach.Calls != 20 {
		t.Errorf("calls %d, %d, %d, want 200, 2, 20", attach.Calls, base.Calls, detach.Calls)
	}
	// All calls by all the time, not the mean of the rounds, which would be 75.
	near("rate", attach.PerSecond, 200.0/3)
	near("slowest round", attach.Slowest, 50)
	near("fastest round", attach.Fastest, 100)
	near("p50", attach.P50, 50)
	near("p90", attach.P90, 90)
	near("p99", attach.P99, 99)
	near("max", attach.Max, 100)
	near("commands", *attach.Commands, 1.25)
	near("ratio", *attach.Ratio, 200.0/3/8)
	if base.Commands != nil || base.Ratio != nil {
		t.Errorf("the baseline has commands %v and ratio %v", base.Commands, base.Ratio)
	}
	if detach.Commands != nil {
		t.Error("commands that were not counted in one round are told all the same")
	}
	if detach.Ratio != nil {
		t.Error("a phase that the baseline has not has a ratio")
	}
}

func TestTable(t *testing.T) {
	r := example()
	r.CPU = []report.CPU{{Process: "rds-csi", Seconds: 12.34}, {Process: "rds-sim", Seconds: 5}}
	var b bytes.Buffer
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	want := `100 volumes, 3 nodes, 4 workers, 2 rounds; each command takes the box 5.00 ms
linux/amd64, 2 CPUs, go1.26; rds-csi v1
load average when it began: 0.1 0.2 0.3

   phase   driver  calls  calls/s  slowest  fastest  p50 ms  p90 ms  p99 ms  max ms  box commands/call  of baseline
  attach  rds-csi    200     66.7     50.0      100    50.0    90.0    99.0     100               1.25        833 %
  attach  instant      2     8.00     8.00     8.00    0.03    1.00    1.00    1.00                  -            -
  detach  rds-csi     20     10.0     10.0     10.0    5.00    9.00    10.0    10.0                  -            -

box commands in all:
  attach: print 50, set 200

CPU time in all: rds-csi 12.3 s, rds-sim 5.00 s
`
	if b.String() != want {
		t.Errorf("table:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := example().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Rows []struct {
			Driver string   `json:"driver"`
			P99    float64  `json:"p99_ms"`
			Ratio  *float64 `json:"ratio_to_baseline"`
		} `json:"rows"`
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Rows) != 3 || got.Rows[0].P99 != 99 || got.Rows[0].Ratio == nil || got.Rows[1].Ratio != nil {
		t.Errorf("JSON has %+v", got)
	}
}

func TestPlot(t *testing.T) {
	var b bytes.Buffer
	if err := example().WritePlot(&b, "instant", "attach"); err != nil {
		t.Fatal(err)
	}
	plot := b.String()
	wellFormed(t, plot)
	if n := strings.Count(plot, "<polyline"); n != 2 {
		t.Errorf("%d curves, want 2: attach of both drivers, detach of none", n)
	}
	if n := strings.Count(plot, "stroke-dasharray"); n != 2 {
		t.Errorf("%d dashed lines, want the baseline's curve and its key", n)
	}
	// From 30 us to 100 ms.
	for _, label := range []string{"0.01 ms", "0.1 ms", "1 ms", "10 ms", "100 ms"} {
		if !strings.Contains(plot, ">"+label+"<") {
			t.Errorf("the axis has no %s", label)
		}
	}
	if strings.Contains(plot, ">1000 ms<") || strings.Contains(plot, ">0.001 ms<") {
		t.Error("the axis is longer than what was measured")
	}
	// The slowest call, 100 ms, is the end of the axis and of the curve.
	if !strings.Contains(plot, ` 580.0,40.0"/>`) {
		t.Error("the curve does not end at the slowest call")
	}
}

func TestPlotOfNothing(t *testing.T) {
	var b bytes.Buffer
	if err := report.New(report.Machine{}, report.Settings{}, report.Driver{}, report.Driver{}).WritePlot(&b, "instant", "attach"); err != nil {
		t.Fatal(err)
	}
	wellFormed(t, b.String())
}

func wellFormed(t *testing.T, doc string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(doc)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v in:\n%s", err, doc)
		}
	}
}
