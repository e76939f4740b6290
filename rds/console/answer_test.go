// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

const testNonce = "0123abcd"

// print writes lines as a box does: CRLF, and broken at a width if there is one.
func printed(width int, lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		for width > 0 && len(line) > width {
			b.WriteString(line[:width] + "\r\n")
			line = line[width:]
		}
		b.WriteString(line + "\r\n")
	}
	return b.String()
}

// rowLine is a row as a List prints it.
func rowLine(i int, row routeros.Row) string {
	var b strings.Builder
	for _, word := range row {
		name, value, _ := strings.Cut(word[1:], "=")
		fmt.Fprintf(&b, "%s=%d:%s;", name, len(value), value)
	}
	return fmt.Sprintf("@%s:%d:row;%s;", testNonce, i, b.String())
}

func okLine(i int, value string) string {
	return fmt.Sprintf("@%s:%d:ok;%d:%s;", testNonce, i, len(value), value)
}

func errorLine(i int, text string) string {
	return fmt.Sprintf("@%s:%d:error;%d:%s;", testNonce, i, len(text), text)
}

func line(i int, word string) string { return fmt.Sprintf("@%s:%d:%s;", testNonce, i, word) }

// story is a script's output with each kind of answer.
func story(width int) (out string, want []answer) {
	rows := []routeros.Row{
		{"=.id=*2", "=slot=vm-storage-001", "=size=1099511627776", "=nvme-tcp-server-nqn=nqn.2026-09.com.mikrotik:rds2216.vm-storage-001"},
		{"=.id=*3", "=comment=" + `a; b=1:c;; "quoted" \ @0123abcx:0:ok;0:; ` + strings.Repeat("w", 200)},
	}
	want = []answer{
		{outcome: ok, rows: rows, text: "2"},
		{outcome: ok, text: "*1F"},
		{outcome: stale},
		{outcome: ok, steps: 1},
		{outcome: refused, steps: 1, text: "failure: not enough space (/disk/set; line 1)"},
		{outcome: ok},
	}
	return printed(
		width, ruler(testNonce),
		rowLine(0, rows[0]), rowLine(0, rows[1]), okLine(0, "2"),
		okLine(1, "*1F"), line(2, "stale"), line(3, "step"), okLine(3, ""),
		line(4, "step"), errorLine(4, want[4].text), okLine(5, ""),
		ending(testNonce, 6),
	), want
}

func TestParseOutput(t *testing.T) {
	for _, width := range []int{0, 20, 33, 79, 80, 81, 99, 100, 101, 132, 299} {
		out, want := story(width)
		for _, before := range []string{"", "Welcome to the box\r\n\r\n"} {
			got := parseOutput(before+out, testNonce, len(want))
			if !got.begun || !got.whole || got.err != nil {
				t.Errorf("width %d: begun %v, whole %v, %v", width, got.begun, got.whole, got.err)
			}
			if !reflect.DeepEqual(got.answers, want) {
				t.Errorf("width %d: answers\n%+v\nwant\n%+v", width, got.answers, want)
			}
		}
		lf := strings.ReplaceAll(out, "\r\n", "\n")
		if got := parseOutput(lf, testNonce, len(want)); !got.whole || !reflect.DeepEqual(got.answers, want) {
			t.Errorf("width %d with line feeds: %+v", width, got)
		}
	}
}

// Output that ends too early, wherever it does, tells only what the whole output tells.
func TestCutOutputTellsNothingFalse(t *testing.T) {
	for _, width := range []int{0, 80} {
		out, want := story(width)
		answered := 0
		for n := range len(out) {
			got := parseOutput(out[:n], testNonce, len(want))
			if got.err != nil && !errors.Is(got.err, errShort) {
				t.Fatalf("cut at %d: %v", n, got.err)
			}
			if got.whole && n < len(strings.TrimSpace(out)) {
				t.Fatalf("cut at %d it counts as whole", n)
			}
			told := 0
			for i, a := range got.answers {
				if a.outcome == open {
					continue
				}
				told++
				if !reflect.DeepEqual(a, want[i]) {
					t.Fatalf("cut at %d, answer %d is %+v, want %+v", n, i, a, want[i])
				}
			}
			if told < answered {
				t.Fatalf("cut at %d, %d answers are told, %d before", n, told, answered)
			}
			answered = told
		}
		if answered != len(want) {
			t.Errorf("%d answers are told at last", answered)
		}
	}
}

// A line break in a value becomes CR LF on a console.
func TestValueWithLineBreak(t *testing.T) {
	out := ruler(testNonce) + "\r\n@0123abcd:0:row;comment=7:one\r\ntwo;slot=1:a;;\r\n" + okLine(0, "1") + "\r\n" + ending(testNonce, 1) + "\r\n"
	got := parseOutput(out, testNonce, 1)
	want := []routeros.Row{{"=comment=one\ntwo", "=slot=a"}}
	if !got.whole || !reflect.DeepEqual(got.answers[0].rows, want) {
		t.Errorf("%+v, want rows %q", got, want)
	}
}

func TestMalformedOutput(t *testing.T) {
	first := ruler(testNonce) + "\r\n"
	last := ending(testNonce, 1) + "\r\n"
	for name, out := range map[string]string{
		"another statement answers":   first + okLine(1, "") + "\r\n" + last,
		"two answers":                 first + okLine(0, "") + "\r\n" + okLine(0, "") + "\r\n" + last,
		"no answer":                   first + last,
		"another number of answers":   first + okLine(0, "") + "\r\n" + ending(testNonce, 2) + "\r\n",
		"no such answer":              first + line(0, "perhaps") + "\r\n" + last,
		"a length that is too large":  first + line(0, "ok") + "3:*1;\r\n" + last,
		"a length that is too small":  first + line(0, "ok") + "1:*1;\r\n" + last,
		"a length with a sign":        first + line(0, "ok") + "+2:*1;\r\n" + last,
		"a length with leading zeros": first + line(0, "ok") + "02:*1;\r\n" + last,
		"a property twice":            first + line(0, "row") + "a=1:x;a=1:x;;\r\n" + okLine(0, "1") + "\r\n" + last,
		"a property of another form":  first + line(0, "row") + "A B=1:x;;\r\n" + okLine(0, "1") + "\r\n" + last,
	} {
		if got := parseOutput(out, testNonce, 1); got.whole || !errors.Is(got.err, ErrMalformed) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, out := range map[string]string{
		"another nonce":     strings.ReplaceAll(first+okLine(0, "")+"\r\n"+last, testNonce, "ffffffff"),
		"no first line":     okLine(0, "") + "\r\n" + last,
		"not at the start":  " " + first + okLine(0, "") + "\r\n" + last,
		"a narrow console":  printed(10, ruler(testNonce), okLine(0, ""), ending(testNonce, 1)),
		"a damaged ruler":   strings.Replace(first, "====", "==-=", 1) + okLine(0, "") + "\r\n" + last,
		"the script echoed": `:put "` + ruler(testNonce) + `";` + "\r\n",
	} {
		if got := parseOutput(out, testNonce, 1); got.begun || got.whole || got.answers[0].outcome != open {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestResults(t *testing.T) {
	list := List{Menu: "/disk", Properties: []string{".id", "slot"}}
	set := Set{Menu: "/disk", ID: "*1", Changes: [][]Property{{{"comment", "a"}}, {{"comment", "b"}}}}
	add := Add{Menu: "/disk", Properties: []Property{{"slot", "a"}}}
	row := rowLine(0, routeros.Row{"=.id=*1", "=slot=a"})
	file := RemoveFile{Name: "a"}
	const space = "failure: not enough space"
	for _, tt := range []struct {
		name  string
		st    Statement
		lines []string // between the first and the last
		value string
		steps int
		rows  int
		fate  error // nil: done
	}{
		{name: "rows", st: list, lines: []string{row, okLine(0, "1")}, rows: 1},
		{name: "no rows", st: list, lines: []string{okLine(0, "0")}},
		{name: "a row is missing", st: list, lines: []string{row, okLine(0, "2")}, fate: routeros.ErrUnanswered},
		{name: "a row too many", st: list, lines: []string{row, row, okLine(0, "1")}, fate: routeros.ErrUnanswered},
		{name: "a property nobody asked for", st: list, lines: []string{rowLine(0, routeros.Row{"=size=1"}), okLine(0, "1")}, fate: routeros.ErrUnanswered},
		{name: "a listing with other text", st: list, lines: []string{row, "hello", okLine(0, "1")}, fate: routeros.ErrUnanswered},
		{name: "a listing with an error", st: list, lines: []string{"no such item", okLine(0, "0")}, fate: errRefused},
		{name: "a listing refused half way", st: list, lines: []string{row, errorLine(0, space)}, fate: errRefused},
		{name: "added", st: add, lines: []string{okLine(0, "*2A")}, value: "*2A"},
		{name: "added as what", st: add, lines: []string{okLine(0, "")}, fate: routeros.ErrUnanswered},
		{name: "added with a remark", st: add, lines: []string{"formatting", okLine(0, "*2")}, value: "*2"},
		{name: "added with an error", st: add, lines: []string{space, okLine(0, "*2")}, value: "*2", fate: routeros.ErrUnanswered},
		{name: "refused", st: add, lines: []string{errorLine(0, space)}, fate: errRefused},
		{name: "both changes", st: set, lines: []string{line(0, "step"), okLine(0, "")}, steps: 2},
		{name: "the first change alone", st: set, lines: []string{line(0, "step"), errorLine(0, space)}, steps: 1, fate: errRefused},
		{name: "a change too few", st: set, lines: []string{okLine(0, "")}, steps: 1, fate: routeros.ErrUnanswered},
		{name: "a guard", st: set, lines: []string{line(0, "stale")}, fate: ErrStale},
		{name: "removed", st: file, lines: []string{okLine(0, "")}},
		{name: "cut short", st: file, lines: []string{errorLine(0, "interrupted")}, fate: errRefused},
	} {
		s := newScript(testNonce)
		if _, err := s.add(0, tt.st); err != nil {
			t.Fatal(err)
		}
		out := printed(80, append(append([]string{s.ruler()}, tt.lines...), ending(testNonce, 1))...)
		results, unparsed := s.results(exchange{out: out, exited: true, redact: strings.ToUpper}, []Statement{tt.st})
		r := results[0]
		if unparsed || r.Value != tt.value || r.Steps != tt.steps || len(r.Rows) != tt.rows {
			t.Errorf("%s: %+v, unparsed %v", tt.name, r, unparsed)
		}
		checkFate(t, tt.name, r.Err, tt.fate)
		if r.Err != nil && strings.Contains(r.Err.Error(), "space") {
			t.Errorf("%s: not redacted: %v", tt.name, r.Err)
		}
	}
}

// errRefused stands for a *routeros.Trap.
var errRefused = errors.New("refused")

// checkFate checks that an error is of one of the three fates, and which.
func checkFate(t *testing.T, name string, err, want error) {
	t.Helper()
	var trap *routeros.Trap
	fates := map[error]bool{
		routeros.ErrNotSent:    errors.Is(err, routeros.ErrNotSent),
		routeros.ErrUnanswered: errors.Is(err, routeros.ErrUnanswered),
		errRefused:             errors.As(err, &trap),
	}
	n := 0
	for _, is := range fates {
		if is {
			n++
		}
	}
	switch {
	case want == nil && err != nil, want != nil && n != 1:
		t.Errorf("%s: %v, of %d fates", name, err, n)
	case want == ErrStale && (!errors.Is(err, ErrStale) || !fates[errRefused]), want != nil && want != ErrStale && !fates[want]:
		t.Errorf("%s: %v, want %v", name, err, want)
	}
}

func TestRefusal(t *testing.T) {
	for text, category := range map[string]int{
		"bad command name X (line 1 column 2)\r\n":              routeros.CategoryMissing,
		"no such item\r\n":                                      routeros.CategoryMissing,
		"no such item (4)":                                      routeros.CategoryMissing,
		"expected end of command (line 1 column 14)\r\n":        routeros.CategoryArgument,
		"syntax error (line 1 column 14)":                       routeros.CategoryArgument,
		"input does not match any value of type":                routeros.CategoryArgument,
		"invalid value for argument nvme-tcp-server-port":       routeros.CategoryArgument,
		"value of nvme-tcp-server-port out of range (1..65535)": routeros.CategoryArgument,
		"failure: not enough space":                             routeros.CategoryGeneral,
		"not enough permissions (9)":                            routeros.CategoryNone,
		"action timed out - try again, if error continues contact MikroTik support and send a supout file (13)": routeros.CategoryInterrupted,
		"interrupted": routeros.CategoryInterrupted,
	} {
		got := refusal(text)
		if got == nil || got.Category != category || got.Message != strings.TrimSpace(text) {
			t.Errorf("refusal(%q) = %+v, want category %d", text, got, category)
		}
	}
	wrapped := printed(80, "input does not match any value of nvme-tcp-server-allow-host-name (line 1 column 1234)")
	if got := refusal(wrapped); got == nil || !strings.Contains(got.Message, "(line 1 column 1234)") {
		t.Errorf("refusal(%q) = %+v", wrapped, got)
	}
	for _, text := range []string{"", "\r\n", "@0123abcd:0:ok;0:;", "Flags: B - BLOCK-DEVICE\r\n", ".id=*1;slot=a", "hello"} {
		if got := refusal(text); got != nil {
			t.Errorf("refusal(%q) = %+v", text, got)
		}
	}
}
