// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/rds/console"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

func TestBisect(t *testing.T) {
	for limit := 10; limit <= 110; limit++ {
		asked := 0
		got, err := bisect(10, []int{33, 40, 100}, func(n int) (bool, error) {
			asked++
			if n <= 10 || n > 100 {
				t.Errorf("asked for %d", n)
			}
			return n <= limit, nil
		})
		if want := min(limit, 100); err != nil || got != want || asked > 9 {
			t.Errorf("%d, %v after %d, want %d", got, err, asked, want)
		}
	}
}

func TestParseRelease(t *testing.T) {
	tests := map[string]struct {
		release release
		ok      bool
	}{
		"7.20.4 (stable)": {release{7, 20}, true},
		"7.13":            {release{7, 13}, true},
		"7.21beta2":       {release{7, 21}, true},
		"8.0 (testing)":   {release{8, 0}, true},
		"seven":           {release{}, false},
		"":                {release{}, false},
	}
	for text, tt := range tests {
		if r, ok := parseRelease(text); ok != tt.ok || ok && r != tt.release {
			t.Errorf("%q: %v, %v", text, r, ok)
		}
	}
	for _, r := range []release{{6, 49}, {7, 12}} {
		if !r.before(13) {
			t.Errorf("%v is not before 7.13", r)
		}
	}
	for _, r := range []release{{7, 13}, {7, 20}, {8, 0}} {
		if r.before(13) {
			t.Errorf("%v is before 7.13", r)
		}
	}
}

func TestSplitPolicies(t *testing.T) {
	for text, want := range map[string][]string{
		"read,write,!ftp,api":   {"read", "write", "api"},
		"read;write;ssh;!local": {"read", "write", "ssh"},
		"":                      nil,
	} {
		if got := splitPolicies(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestPoolOf(t *testing.T) {
	rows := []routeros.Row{
		{"=slot=raid10", "=mount-point=raid10"},
		{"=slot=inner", "=mount-point=/raid10/inner"},
		{"=slot=raid1", "=mount-point=raid1"},
		{"=slot=unmounted", "=mount-point="},
	}
	for path, want := range map[string]string{
		"/raid10": "raid10", "/raid10/vms": "raid10", "/raid10/inner/vms": "inner", "/raid1": "raid1", "/raid": "", "/raid100": "",
	} {
		if got := poolOf(rows, path).Get("slot"); got != want {
			t.Errorf("%s is on %q, want %q", path, got, want)
		}
	}
}

func TestCompare(t *testing.T) {
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	before := &Report{At: at, Address: "box:8729", RouterOS: "7.20.4 (stable)", Uptime: "1h", Rows: []Row{
		{ID: "*1", Type: "raid", Slot: "raid10", State: "clean"},
		{ID: "*2", Type: "file", File: "/raid10/a.img", Export: "true"},
		{ID: "*3", Type: "file", File: "/raid10/b.img"},
	}}
	after := &Report{At: at.Add(24 * time.Hour), Address: "box:8729", RouterOS: "7.20.4 (stable)", Uptime: "2h", Rows: []Row{
		{ID: "*1", Type: "raid", Slot: "raid10", State: "clean, sync:repair"},
		{ID: "*9", Type: "file", File: "/raid10/a.img", Export: "false"},
		{ID: "*4", Type: "file", File: "/raid10/c.img"},
	}}
	want := []string{
		"the box has rebooted: up 1h, and 24h0m0s later 2h",
		`raid raid10: state was "clean", is "clean, sync:repair"`,
		`file /raid10/a.img: nvme-tcp-export was "true", is "false"`,
		"file /raid10/b.img is missing (switch HideLate: true, if it comes back later)",
		"file /raid10/c.img is new",
		"1 of 2 rows have another .id (switch RenumberIDs: true, if the box has rebooted)",
	}
	if got := Compare(before, after); !slices.Equal(got, want) {
		t.Errorf("changes:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	later := *before
	later.At, later.Uptime = at.Add(time.Hour), "2h"
	if got := Compare(before, &later); len(got) != 2 || !strings.Contains(got[0], "not rebooted") {
		t.Errorf("nothing has changed, and it says %q", got)
	}
}

func TestCommandString(t *testing.T) {
	c := Command{Menu: "/disk", Verb: Set, Item: "*5", With: []console.Property{
		{Name: "nvme-tcp-server-password", Value: "hidden"}, {Name: "comment", Value: strings.Repeat("x", 100)}, {Name: "slot", Value: "a"},
	}}
	want := "/disk/set *5 nvme-tcp-server-password=*** comment=" + strings.Repeat("x", 40) + "...(100 bytes) slot=a"
	if got := c.String(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestHealthy(t *testing.T) {
	for name, tt := range map[string]struct {
		report Report
		is     bool
	}{
		"nothing":     {Report{}, true},
		"warned":      {Report{Checks: []Check{{Result: Warn}, {Result: Skipped}, {Result: OK}}}, true},
		"failed":      {Report{Checks: []Check{{Result: OK}, {Result: Fail}}}, false},
		"left behind": {Report{Left: []string{"a disk"}}, false},
	} {
		if tt.report.Healthy() != tt.is {
			t.Errorf("%s: healthy is not %v", name, tt.is)
		}
	}
}

// TestWriteText shows the table, in which a text from the box cannot make rows.
func TestWriteText(t *testing.T) {
	r := Report{
		Address: "box:8729", Transport: "API", RouterOS: "7.20.4 (stable)", Board: "RDS2216", Uptime: "5d",
		Checks: []Check{
			{Name: "pool of /raid10", Result: OK, Seen: "raid \"raid10\""},
			{Name: "service", Result: Fail, Seen: "a\r\nok\tb", Do: "mend it"},
		},
		Answers: []Answer{
			{Question: "shrink", Switch: "Shrink", Value: "false", Seen: "refused"},
			{Question: "order", Switch: "Unordered", Unsettled: "no API"},
			{Question: "life", Seen: "model Linux"},
		},
		Refusals: []Refusal{{"shrink", "/disk/set *5 file-size=1", "failure: no\n"}},
		Left:     []string{"disk *5"},
	}
	want := `RDS2216, RouterOS 7.20.4 (stable), up 5d, at box:8729 over API

RESULT  CHECK            SEEN
ok      pool of /raid10  raid "raid10"
FAIL    service          a  ok b
                         -> mend it

What this box does, and how a simulated box must be set to do the same:
QUESTION  SWITCH                  SEEN
shrink    Shrink: false           refused
order     Unordered: not settled  no API
life      -                       model Linux

What the box refused, in its words:
shrink  "failure: no\n"  /disk/set *5 file-size=1

LEFT BEHIND, remove it by hand or run the write test again:
  disk *5
`
	var b strings.Builder
	if err := r.WriteText(&b); err != nil || b.String() != want {
		t.Errorf("%v:\n%s\nwant\n%s", err, b.String(), want)
	}
}
