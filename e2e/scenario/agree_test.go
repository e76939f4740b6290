// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"maps"
	"strings"
	"testing"
)

var ab = route{"pvc-1", "a", "b"}

// one is what is told of one migration that has succeeded.
func one() told {
	return told{
		started: map[route]int{ab: 1}, events: map[outcome]int{{ab, success}: 1}, spans: map[outcome]int{{ab, success}: 1},
		counted: map[string]int{success: 1}, timed: 1,
	}
}

// A scenario fails where a single signal says less, more, or something else than what was. Where a process
// died, none may say more or something else.
func TestAgree(t *testing.T) {
	nothing := told{}
	for name, c := range map[string]struct {
		change func(*told)
		says   string // in the error; "": there is none
		lost   string // the same, where a process died
	}{
		"one outcome":           {func(*told) {}, "", ""},
		"nothing":               {func(s *told) { *s = nothing }, "was told 0 times, and was so 1 times", ""},
		"no event":              {func(s *told) { s.events = nil }, "0 events tell of result success, and 1 spans", ""},
		"no start":              {func(s *told) { s.started = nil }, "were told to have started: map[]", ""},
		"no span":               {func(s *told) { s.spans = nil }, "1 events tell of result success, and 0 spans", ""},
		"not counted":           {func(s *told) { s.counted = nil }, "the counter has 0 times result success", ""},
		"not timed":             {func(s *told) { s.timed = 0 }, "the histogram has 0 migrations", ""},
		"two events":            {func(s *told) { s.events[outcome{ab, success}] = 2 }, "what was is map[success:1]", "what was is map[success:1]"},
		"two spans":             {func(s *told) { s.spans[outcome{ab, success}] = 2 }, "what was is map[success:1]", "what was is map[success:1]"},
		"counted twice":         {func(s *told) { s.counted[success] = 2 }, "the counter has 2 times", "the counter has 2 times"},
		"timed twice":           {func(s *told) { s.timed = 2 }, "the histogram has 2 migrations", "the histogram has 2 migrations"},
		"another event":         {func(s *told) { s.events = map[outcome]int{{ab, failed}: 1} }, "events map[failed:1]", "events map[failed:1]"},
		"another span":          {func(s *told) { s.spans = map[outcome]int{{ab, timeout}: 1} }, "spans map[timeout:1]", "spans map[timeout:1]"},
		"a span of another way": {func(s *told) { s.spans = map[outcome]int{{route{"pvc-1", "b", "a"}, success}: 1} }, "from node b to node a", "from node b to node a"},
		"an unknown result":     {func(s *told) { s.spans = map[outcome]int{{ab, "lost"}: 1} }, `no result "lost"`, `no result "lost"`},
		"counted otherwise":     {func(s *told) { s.counted = map[string]int{failed: 1} }, "1 times result failed", "1 times result failed"},
	} {
		t.Run(name, func(t *testing.T) {
			tally := newTally()
			tally.open[ab]++
			tally.end(ab, success)
			said := one()
			c.change(&said)
			expect(t, tally.agree(said, false), c.says)
			expect(t, tally.agree(said, true), c.lost)
		})
	}
}

// Of a migration whose end the script does not know, it takes any, but one alone.
func TestAgreeOnAnOpenEnd(t *testing.T) {
	tally := newTally()
	tally.open[ab]++
	expect(t, tally.agree(one(), false), "")
	expect(t, tally.agree(told{}, false), "")
	expect(t, tally.agree(told{started: map[route]int{ab: 1}}, false), "started")
	two := one()
	two.events[outcome{ab, failed}] = 1
	expect(t, tally.agree(two, false), "events map[failed:1 success:1]")
	expect(t, tally.agree(two, true), "events map[failed:1 success:1]")
}

func expect(t *testing.T, err error, says string) {
	t.Helper()
	switch {
	case says == "" && err != nil:
		t.Errorf("got %v, want nothing", err)
	case says != "" && (err == nil || !strings.Contains(err.Error(), says)):
		t.Errorf("got %v, want %s", err, says)
	}
}

// Where a pod is attached, one after the other, tells how a migration ended.
func TestTallySees(t *testing.T) {
	for name, c := range map[string]struct {
		seen  [][]string
		ended map[outcome]int
		open  int
	}{
		"the source leaves":    {[][]string{{"a"}, {"a", "b"}, {"a", "b"}, {"b"}}, map[outcome]int{{ab, success}: 1}, 0},
		"the target leaves":    {[][]string{{"a"}, {"a", "b"}, {"a"}}, map[outcome]int{{ab, failed}: 1}, 0},
		"both leave":           {[][]string{{"a"}, {"a", "b"}, {}}, map[outcome]int{}, 1},
		"nobody leaves":        {[][]string{{"a"}, {"a", "b"}}, map[outcome]int{}, 1},
		"there and back again": {[][]string{{"a"}, {"a", "b"}, {"b"}, {"a", "b"}, {"a"}}, map[outcome]int{{ab, success}: 1, {route{"pvc-1", "b", "a"}, success}: 1}, 0},
		"one after the other":  {[][]string{{"a"}, {}, {"b"}}, map[outcome]int{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			tally := newTally()
			for _, nodes := range c.seen {
				if err := tally.see("pvc-1", nodes); err != nil {
					t.Fatal(err)
				}
			}
			if !maps.Equal(tally.ended, c.ended) || tally.open[ab] != c.open {
				t.Errorf("ended %v, open %v", tally.ended, tally.open)
			}
		})
	}
}

// Which of two nodes is the source is not guessed; what a VM's disk does, KubeVirt says.
func TestTallyDoesNotGuess(t *testing.T) {
	tally := newTally()
	expect(t, tally.see("pvc-1", []string{"a", "b"}), "which of the two nodes is the source?")
	tally.virtual["pvc-2"] = true
	expect(t, tally.see("pvc-2", []string{"a", "b"}), "")
	if len(tally.open) > 0 {
		t.Errorf("open %v", tally.open)
	}
}

func TestMigrationEvent(t *testing.T) {
	for text, want := range map[string][]string{
		"[pvc-1]: KubeVirt live migration started - source: a, target: b, timeout: 30s":                                    {"pvc-1", "started", "a", "b", ""},
		"[pvc-1]: KubeVirt live migration completed - source: a -> target: b (duration: 2s)":                               {"pvc-1", "completed", "a", "b", ""},
		"[pvc-1]: KubeVirt live migration failed - source: a, attempted target: b, reason: not finished after 3s, elapsed": {"pvc-1", "failed", "a", "b", "not finished after 3s, elapsed"},
	} {
		if m := migrationEvent.FindStringSubmatch(text); m == nil || strings.Join(m[1:], "|") != strings.Join(want, "|") {
			t.Errorf("%s: %q", text, m)
		}
	}
}
