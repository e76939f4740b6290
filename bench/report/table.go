// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// WriteJSON writes the report for programs.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteTable writes the report for people.
func (r Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	s, m := r.Settings, r.Machine
	fmt.Fprintf(&b, "%d volumes, %d nodes, %d workers, %d rounds; each command takes the box %s ms\n",
		s.Volumes, s.Nodes, s.Workers, s.Rounds, number(s.ServiceTime))
	fmt.Fprintf(&b, "%s, %d CPUs, %s; %s\n", m.Platform, m.CPUs, m.Go, m.Driver)
	if m.Load != "" {
		fmt.Fprintf(&b, "load average when it began: %s\n", m.Load)
	}
	b.WriteByte('\n')
	r.rows(&b)
	r.kinds(&b)
	var cpu []string
	for _, c := range r.CPU {
		cpu = append(cpu, fmt.Sprintf("%s %s s", c.Process, number(c.Seconds)))
	}
	if len(cpu) > 0 {
		fmt.Fprintf(&b, "\nCPU time in all: %s\n", strings.Join(cpu, ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Report) rows(b *strings.Builder) {
	tw := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(cells ...string) {
		_, _ = fmt.Fprintln(tw, strings.Join(cells, "\t")+"\t") // into memory: Flush cannot fail either
	}
	line("phase", "driver", "calls", "calls/s", "slowest", "fastest", "p50 ms", "p90 ms", "p99 ms", "max ms", "box commands/call", "of baseline")
	for _, x := range r.Rows {
		line(x.Phase, x.Driver, strconv.Itoa(x.Calls), number(x.PerSecond), number(x.Slowest), number(x.Fastest),
			number(x.P50), number(x.P90), number(x.P99), number(x.Max), optional(x.Commands, ""), optional(times(x.Ratio, 100), " %"))
	}
	_ = tw.Flush()
}

// kinds tells which commands the box was sent.
func (r Report) kinds(b *strings.Builder) {
	title := "\nbox commands in all:\n"
	for _, x := range r.Rows {
		if len(x.Kinds) == 0 {
			continue
		}
		var kinds []string
		for _, kind := range slices.Sorted(maps.Keys(x.Kinds)) {
			kinds = append(kinds, fmt.Sprintf("%s %.0f", kind, x.Kinds[kind]))
		}
		fmt.Fprintf(b, "%s  %s: %s\n", title, x.Phase, strings.Join(kinds, ", "))
		title = ""
	}
}

func times(p *float64, by float64) *float64 {
	if p == nil {
		return nil
	}
	v := *p * by
	return &v
}

func optional(p *float64, unit string) string {
	if p == nil {
		return "-"
	}
	return number(*p) + unit
}

// number writes three significant digits, and every digit before the point.
func number(f float64) string {
	decimals := 0
	for limit := 100.0; f < limit && decimals < 2; limit /= 10 {
		decimals++
	}
	return strconv.FormatFloat(f, 'f', decimals, 64)
}
