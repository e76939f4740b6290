// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/rds/doctor"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// settledBy returns the question that settles each switch.
func settledBy() map[string]string {
	by := map[string]string{}
	for _, q := range doctor.Questions() {
		for _, name := range q.Switches {
			by[name] = q.Name
		}
	}
	return by
}

// TestEverySwitchIsAsked shows that each unknown of the simulated box is settled by a question, or by hand as
// the checklist says, and that there is no question about a switch that is gone.
func TestEverySwitchIsAsked(t *testing.T) {
	page, err := os.ReadFile("../../docs/hardware-checklist.md")
	if err != nil {
		t.Fatal(err)
	}
	byHand := between(string(page), "## By hand\n", "\n## ")
	by := settledBy()
	switches := reflect.TypeFor[sim.Switches]()
	for i := range switches.NumField() {
		name := switches.Field(i).Name
		_, asked := by[name]
		if listed := strings.Contains(byHand, "`"+name+"`"); asked == listed {
			t.Errorf("%s: asked by a question: %v, listed in the checklist: %v; want one of them", name, asked, listed)
		}
	}
	for name := range by {
		if _, ok := switches.FieldByName(name); !ok {
			t.Errorf("there is no switch %s", name)
		}
	}
}

// A stand is one way in which a switch may stand, with what it takes to see it.
type stand struct {
	name  string
	set   func(*sim.Switches)
	other func(*sim.Config) // nil: nothing
}

// stands returns the routes in which a switch may stand: those of a truth value or a Choice by its type, and
// otherwise those given here.
func stands(t *testing.T, name string) []stand {
	t.Helper()
	set := func(value any, other func(*sim.Config)) stand {
		return stand{
			fmt.Sprintf("%s=%v", name, value),
			func(sw *sim.Switches) { reflect.ValueOf(sw).Elem().FieldByName(name).Set(reflect.ValueOf(value)) },
			other,
		}
	}
	switch name {
	case "SlotLimit":
		return []stand{set(0, nil), set(33, nil), set(40, nil), set(63, nil), set(-1, nil)}
	case "CommentLimit":
		return []stand{set(0, nil), set(200, nil), set(255, nil), set(256, nil), set(700, nil)}
	case "CutComment":
		limit := func(cfg *sim.Config) { cfg.Switches.CommentLimit = 300 }
		return []stand{set(false, limit), set(true, limit)}
	case "ExitStatus":
		return []stand{set(0, nil), set(1, nil)}
	case "DefaultNQN":
		return []stand{set("", nil), set("nqn.2026-09.com.mikrotik:rds2216.", nil)}
	case "ExportDelay":
		return []stand{set(time.Duration(0), nil), set(400*time.Millisecond, nil)}
	case "FilesNeedFTP":
		poor := func(cfg *sim.Config) { cfg.Policies = "read,write,api,ssh,policy" }
		return []stand{set(false, poor), set(true, poor)}
	case "UsersNeedPolicy":
		poor := func(cfg *sim.Config) { cfg.Policies = "read,write,api,ssh,ftp" }
		return []stand{set(false, poor), set(true, poor)}
	}
	switch f, _ := reflect.TypeFor[sim.Switches]().FieldByName(name); {
	case f.Type.Kind() == reflect.Bool:
		return []stand{set(false, nil), set(true, nil)}
	case f.Type == reflect.TypeFor[sim.Choice]():
		return []stand{set(sim.Refuse, nil), set(sim.Accept, nil), set(sim.Rename, nil)}
	default:
		t.Fatalf("no values of %s are given", name)
	}
	return nil
}

// printed reads the switches that the doctor printed: those it settled by their value, the others as "".
func printed(said string) map[string]string {
	values := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^[a-z-]+  +([A-Z]\w+): (.+?)  +\S`).FindAllStringSubmatch(said, -1) {
		if m[2] == "not settled" {
			m[2] = ""
		}
		values[m[1]] = m[2]
	}
	return values
}

// stood reports whether what was printed of a switch is how it stands.
func stood(name, value string, sw sim.Switches) bool {
	field := reflect.ValueOf(sw).FieldByName(name)
	switch name {
	case "DuplicateSlot":
		return value == []string{"Refuse", "Accept", "Rename"}[sw.DuplicateSlot]
	case "SlotLimit":
		return value == map[int]string{0: "32"}[sw.SlotLimit] || value == fmt.Sprint(sw.SlotLimit) && sw.SlotLimit != 0
	case "DefaultNQN":
		return value == sw.DefaultNQN || sw.DefaultNQN == "" && value == "nqn.2026-09.com.mikrotik:rds-sim."
	case "ExportDelay":
		low, high, measured := strings.Cut(value, "-")
		from, err1 := time.ParseDuration(low)
		to, err2 := time.ParseDuration(high)
		if sw.ExportDelay == 0 {
			return value == "0"
		}
		// The ends are rounded. The box may be late, which no bound can hold; much later it is another delay.
		return measured && err1 == nil && err2 == nil && from <= to && from <= sw.ExportDelay+2*time.Second && sw.ExportDelay-time.Millisecond <= to
	}
	return value == fmt.Sprint(field.Interface())
}

// matches compares all switches that were printed with those of the box, of which one must be among them.
func matches(t *testing.T, said string, sw sim.Switches, must ...string) {
	t.Helper()
	values := printed(said)
	for _, name := range must {
		if values[name] == "" {
			t.Errorf("%s is not settled:\n%s", name, said)
		}
	}
	for name, value := range values {
		if value != "" && !stood(name, value, sw) {
			t.Errorf("%s is printed as %q, it stands at %v:\n%s", name, value, reflect.ValueOf(sw).FieldByName(name), said)
		}
	}
}

// patience is as short as a question, or a run of all, allows: what is promised to hosts before an answer comes needs none, an
// event comes when it comes, and a script has to be caught in its middle.
func patience(question string) string {
	switch question {
	case "resize", "ssh-end", "usual":
		return "--patience=2s"
	case "other", "worst":
		return "--patience=1s"
	}
	return "--patience=200ms"
}

// TestDoctorSettlesEachSwitch runs the write test against a box with each value of each switch that it claims
// to settle, over each transport: exactly that value must be printed, and the box be as it was.
func TestDoctorSettlesEachSwitch(t *testing.T) {
	for name, question := range settledBy() {
		for _, s := range stands(t, name) {
			for _, w := range routes {
				t.Run(s.name+"/"+w.name, func(t *testing.T) {
					t.Parallel()
					var cfg sim.Config
					if s.other != nil {
						s.other(&cfg)
					}
					s.set(&cfg.Switches)
					key := ""
					if name == "KeysOnly" {
						key, cfg.AuthorizedKeys = newKeyFile(t)
					}
					c := newClinic(t, cfg)
					c.key = key
					_, said := c.doctor(t.Context(), t, w, "--write-test", "--yes", "--only="+question, patience(question))
					matches(t, said, cfg.Switches, name)
					c.untouched(t)
				})
			}
		}
	}
}

// TestDoctorSettlesAll runs the whole write test: against the usual box, and against boxes on which many
// switches stand otherwise.
func TestDoctorSettlesAll(t *testing.T) {
	other := sim.Switches{
		DuplicateSlot: sim.Rename, SharedFile: true, SlotLimit: 48, CommentLimit: 400, CutComment: true, Shrink: true,
		NeedDirectory: true, HideExport: true, ExitStatus: 1, ParallelChannels: true, WrapPut: true, HardWrap: true,
		DefaultNQN: "nqn.2026-09.com.mikrotik:rds2216.", ExportDelay: 150 * time.Millisecond, KeepOnNQNChange: true,
		AllowList: true, Retry: true, PortStaysOpen: true, NoResizeEvent: true, NewUUID: true, BlankFile: true,
	}
	worst := sim.Switches{
		DuplicateSlot: sim.Accept, RefuseFile: true, LeaveFile: true, SlotLimit: -1, CommentLimit: 300, NeedNQN: true,
		KeepOnExportOff: true, EndScripts: true, Unordered: true,
	}
	for name, sw := range map[string]sim.Switches{"usual": {}, "other": other, "worst": worst} {
		for _, w := range routes {
			if name != "usual" && (name == "other") != (w.name == "API") {
				continue // each switch alone is tried over both
			}
			t.Run(name+"/"+w.name, func(t *testing.T) {
				t.Parallel()
				c := newClinic(t, sim.Config{Switches: sw})
				code, said := c.doctor(t.Context(), t, w, "--write-test", "--yes", "--fill", patience(name))
				// An export that does not fence is a failure.
				if want := map[bool]int{true: exitFailed}[sw.KeepOnExportOff]; code != want {
					t.Errorf("exit code %d, want %d:\n%s", code, want, said)
				}
				var must []string
				excused := []string{"FilesNeedFTP", "UsersNeedPolicy", "KeysOnly", "CutComment", "BlankFile", "DefaultNQN", "NewUUID"}
				for name := range settledBy() {
					if !slices.Contains(excused, name) {
						must = append(must, name)
					}
				}
				matches(t, said, sw, must...)
				if !strings.Contains(said, "removing the row leaves the file") || strings.Contains(said, "LEFT BEHIND") {
					t.Error(said)
				}
				c.untouched(t)
			})
		}
	}
}
