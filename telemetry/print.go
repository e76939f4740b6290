// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// transport are the attributes that a printed tree leaves out: they say how a request travelled.
var transport = []string{"rpc.", "net.", "network.", "server.", "client.", "code.", "thread."}

// ours begins the names of this driver's own attributes, and is not printed.
const ours = "rds_csi."

const maxPrintedValue = 80 // runes

// Print writes traces as trees, one span a line: its name, how long it took, its attributes, why it
// failed. Without an ID it writes all that were recorded, by their start. Names and values are cleaned
// of what a terminal would interpret.
func (r *Recorder) Print(w io.Writer, ids ...trace.TraceID) error {
	var out bytes.Buffer
	for _, tree := range r.Trees() {
		if len(ids) > 0 && !slices.Contains(ids, tree.TraceID) {
			continue
		}
		if out.Len() > 0 {
			out.WriteByte('\n')
		}
		tree.print(&out)
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("print traces: %w", err)
	}
	return nil
}

// A line is one of a printed tree. Only a span's line has a duration.
type line struct {
	left     string // branches and name
	duration string
	right    string
}

func (t *Tree) print(out *bytes.Buffer) {
	noun := "spans"
	if t.Spans == 1 {
		noun = "span"
	}
	fmt.Fprintf(out, "trace %s: %d %s in %s\n", t.TraceID, t.Spans, noun, human(t.End.Sub(t.Start)))
	var lines []line
	for _, root := range t.Roots {
		lines = root.lines(lines, "", "")
	}
	left, middle := 0, 0
	for _, l := range lines {
		if l.duration != "" {
			left = max(left, utf8.RuneCountInString(l.left))
			middle = max(middle, utf8.RuneCountInString(l.duration))
		}
	}
	for _, l := range lines {
		if l.duration == "" {
			fmt.Fprintln(out, l.left)
			continue
		}
		text := fmt.Sprintf("%-*s  %*s  %s", left, l.left, middle, l.duration, l.right)
		fmt.Fprintln(out, strings.TrimRight(text, " "))
	}
}

// lines appends the lines of a span and of what is below it. first stands before its name, rest
// before the lines below.
func (s *Span) lines(lines []line, first, rest string) []line {
	lines = append(lines, line{left: first + clean(s.Name), duration: human(s.End.Sub(s.Start)), right: s.details()})
	for _, link := range s.Links {
		bar := "   "
		if len(s.Children) > 0 {
			bar = "│  "
		}
		lines = append(lines, line{left: rest + bar + link.String()})
	}
	for i, child := range s.Children {
		if i == len(s.Children)-1 {
			lines = child.lines(lines, rest+"└─ ", rest+"   ")
		} else {
			lines = child.lines(lines, rest+"├─ ", rest+"│  ")
		}
	}
	return lines
}

func (s *Span) details() string {
	var parts []string
	for _, kv := range s.Attributes {
		if !isTransport(kv.Key) {
			parts = append(parts, clean(strings.TrimPrefix(string(kv.Key), ours))+"="+clean(kv.Value.String()))
		}
	}
	if s.Orphan {
		parts = append(parts, fmt.Sprintf("(its parent %s is not recorded)", s.Parent.SpanID()))
	}
	if s.Failed {
		parts = append(parts, strings.TrimSpace("✗ "+clean(s.Error)))
	}
	return strings.Join(parts, " ")
}

// String tells where a link leads.
func (l Link) String() string {
	name := "a span that is not recorded"
	if l.Target != nil {
		name = clean(l.Target.Name)
	}
	return fmt.Sprintf("↪ %s (trace %s, span %s)", name, l.To.TraceID(), l.To.SpanID())
}

func isTransport(key attribute.Key) bool {
	return slices.ContainsFunc(transport, func(prefix string) bool { return strings.HasPrefix(string(key), prefix) })
}

// clean makes text fit for one place in one line of a terminal.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "·")
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > maxPrintedValue {
		return string(runes[:maxPrintedValue-1]) + "…"
	}
	return s
}

// human rounds a duration to what an eye takes in.
func human(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}
