// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/rds/doctor"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// changing reports whether a command changes the box.
func changing(c sim.Command) bool {
	return strings.HasSuffix(c.Name, "/add") || strings.HasSuffix(c.Name, "/set") || strings.HasSuffix(c.Name, "/remove")
}

// TestDoctorCleansUpWhenInterrupted ends the write test at one changing command after the other, before it is
// carried out and after it, as an interrupt does, or by the loss of its connection, after which the command may
// land late: the box is as it was.
func TestDoctorCleansUpWhenInterrupted(t *testing.T) {
	only := "--only=life,slot-twice,existing-file,directory,export-off"
	for _, w := range routes {
		for _, how := range []string{"interrupt", "lost before", "lost after", "late"} {
			for at := int64(1); at <= 29; at += 5 {
				t.Run(fmt.Sprintf("%s/%s at %d", w.name, how, at), func(t *testing.T) {
					t.Parallel()
					ctx, interrupt := context.WithCancel(t.Context())
					defer interrupt()
					var n atomic.Int64
					c := newClinic(t, sim.Config{Fault: func(cmd sim.Command) sim.Fault {
						if !changing(cmd) || n.Add(1) != at {
							return sim.Fault{}
						}
						switch how {
						case "interrupt":
							interrupt()
							return sim.Fault{AnswerDelay: 50 * time.Millisecond}
						case "lost before":
							return sim.Fault{DropBefore: true}
						case "late":
							return sim.Fault{Late: 100 * time.Millisecond}
						}
						return sim.Fault{DropAfter: true}
					}})
					code, said := c.doctor(ctx, t, w, "--write-test", "--yes", only, "--patience="+map[bool]string{true: "1s", false: "200ms"}[how == "late"])
					if how == "interrupt" && code != exitFailed {
						t.Errorf("exit code %d:\n%s", code, said)
					}
					// What was sent is waited for, so that nothing comes behind the cleaning up.
					if unanswered := strings.Contains(said, "got no answer"); unanswered && how == "interrupt" {
						t.Errorf("a command was given up:\n%s", said)
					}
					if n.Load() < at || strings.Contains(said, "LEFT BEHIND") {
						t.Errorf("%d changing commands:\n%s", n.Load(), said)
					}
					c.untouched(t)
				})
			}
		}
	}
}

// TestDoctorLeavesAndFinds shows that what cannot be removed is told, that the next run offers to remove it,
// and removes it only if it may.
func TestDoctorLeavesAndFinds(t *testing.T) {
	for _, w := range routes {
		t.Run(w.name, func(t *testing.T) {
			c := newClinic(t, sim.Config{})
			fault, err := c.Inject(sim.Rule{Command: "/disk/remove", Fault: sim.Fault{Trap: "failure: busy"}})
			if err != nil {
				t.Fatal(err)
			}
			code, said := c.doctor(t.Context(), t, w, "--write-test", "--yes", "--only=slot-length,directory,shrink", "--patience=200ms")
			slots := regexp.MustCompile(`disk "(rdscsi-doctor-[0-9a-f]{12}-[0-9a-z-]+)" \(\*[0-9A-F]+\) with file (\S+):`).FindAllStringSubmatch(said, -1)
			if code != exitFailed || !strings.Contains(said, "LEFT BEHIND") || !strings.Contains(said, "failure: busy") || len(slots) == 0 {
				t.Fatalf("exit code %d:\n%s", code, said)
			}
			for _, m := range slots {
				if !strings.Contains(c.state(t), m[1]) || !strings.Contains(c.state(t), strings.TrimPrefix(m[2], "/")) {
					t.Errorf("%v is not on the box:\n%s", m, c.state(t))
				}
			}
			if code, said := c.doctor(t.Context(), t, w); code != exitOK || !strings.Contains(said, "of an earlier write test") {
				t.Errorf("a look: exit code %d:\n%s", code, said)
			}
			c.ClearFault(fault)
			left := c.state(t)
			code, said, asked := c.answer(t, w, "no\nno\n", "--write-test", "--only=shrink")
			if code != exitFailed || c.state(t) != left || strings.Count(asked, "yes") != 2 || !strings.Contains(asked, slots[0][1]) {
				t.Errorf("declined: exit code %d, asked %q:\n%s", code, asked, said)
			}
			code, said, _ = c.answer(t, w, "yes\nno\n", "--write-test", "--only=shrink")
			if code != exitFailed || !strings.Contains(said, "RESULT") {
				t.Errorf("half declined: exit code %d:\n%s", code, said)
			}
			c.untouched(t)
		})
	}
}

// answer runs the doctor with what a person types, and returns what it asked, too.
func (c *clinic) answer(t *testing.T, w route, typed string, more ...string) (code int, said, asked string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	err := diagnose(t.Context(), c.args(w, more...), strings.NewReader(typed), &stdout, &stderr)
	if err != nil {
		code = exitFailed
		stderr.WriteString(err.Error())
	}
	return code, stdout.String(), stderr.String()
}

// TestDoctorAsks shows that without a yes nothing is changed.
func TestDoctorAsks(t *testing.T) {
	for _, typed := range []string{"", "\n", "no\n", "y\n", "yes!\n"} {
		var n atomic.Int64
		c := newClinic(t, sim.Config{Fault: func(cmd sim.Command) sim.Fault {
			if changing(cmd) {
				n.Add(1)
			}
			return sim.Fault{}
		}})
		code, said, asked := c.answer(t, routes[0], typed, "--write-test")
		if code != exitFailed || n.Load() > 0 || !strings.Contains(asked, "nothing was changed") || !strings.Contains(said, "RESULT") {
			t.Errorf("%q: exit code %d, %d changes, asked %q:\n%s", typed, code, n.Load(), asked, said)
		}
	}
	c := newClinic(t, sim.Config{})
	if code, said, _ := c.answer(t, routes[0], "yes\n", "--write-test", "--only=shrink"); code != exitOK || !strings.Contains(said, "Shrink: false") {
		t.Errorf("exit code %d:\n%s", code, said)
	}
	c.untouched(t)
}

// TestDoctorMakesNothingOnAnIllBox shows that the write test keeps away from a box on which a check failed.
func TestDoctorMakesNothingOnAnIllBox(t *testing.T) {
	c := newHealthy(t, sim.Config{PoolState: "degraded"})
	code, said := c.doctor(t.Context(), t, routes[0], "--write-test", "--yes")
	if code != exitFailed || !strings.Contains(said, "skipped  write test") || c.Commands()["/disk/set"] > 0 {
		t.Errorf("exit code %d:\n%s", code, said)
	}
	c.untouched(t)
}

// TestDoctorCompares shows the changes over a reboot that numbers rows anew.
func TestDoctorCompares(t *testing.T) {
	c := newClinic(t, sim.Config{Switches: sim.Switches{RenumberIDs: true}})
	_, said := c.doctor(t.Context(), t, routes[0], "--json")
	var before doctor.Report
	if err := json.Unmarshal([]byte(said), &before); err != nil || len(before.Rows) != 8 || !before.Healthy() {
		t.Fatalf("%v: %+v", err, before)
	}
	before.Uptime = "3w2d" // as of a box that has run for a while
	text, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "before.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	code, said := c.doctor(t.Context(), t, routes[1], "--compare="+file)
	for _, want := range []string{"the box has rebooted: up 3w2d", "rows have another .id (switch RenumberIDs: true"} {
		if code != exitOK || !strings.Contains(said, want) {
			t.Errorf("exit code %d, want %q in it:\n%s", code, want, said)
		}
	}
}
