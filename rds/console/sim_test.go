// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console_test

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/rds-csi/rds-csi/rds/console"
	"github.com/rds-csi/rds-csi/rds/routeros"
	"github.com/rds-csi/rds-csi/rds/sim"
)

func simulated(t *testing.T) (*sim.Sim, *console.Client) {
	t.Helper()
	s, err := sim.Start(t.Context(), sim.Config{Dir: t.TempDir(), Capacity: 1 << 30, Username: "csi", Password: "hunter2-secret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	c, err := console.Dial(t.Context(), console.Config{
		Address: s.SSHAddr(), Username: "csi", Password: "hunter2-secret", HostKey: ssh.FingerprintSHA256(s.HostKey()),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return s, c
}

var properties = []string{
	".id", "type", "slot", "disabled", "comment", "file-path", "file-size", "size", "free", "mount-point", "state",
	"nvme-tcp-export", "nvme-tcp-server-port", "nvme-tcp-server-nqn", "nvme-tcp-server-allow-host-name",
}

var listing = console.List{Menu: "/disk", Properties: properties, Any: []console.Condition{
	{Property: "type", Value: "file"}, {Property: "mount-point", Op: console.Present},
}}

func addition(slot string) console.Add {
	path := "/raid10/" + slot + ".img"
	return console.Add{
		Menu: "/disk", Unless: []console.Condition{{Property: "file-path", Value: path}},
		Properties: []console.Property{
			{Name: "type", Value: "file"},
			{Name: "slot", Value: slot},
			{Name: "file-path", Value: path},
			{Name: "file-size", Value: "1048576"},
			{Name: "mount-filesystem", Value: "no"},
			{Name: "nvme-tcp-export", Value: "no"},
			{Name: "nvme-tcp-server-port", Value: "4420"},
			{Name: "nvme-tcp-server-nqn", Value: "nqn.2000-02.com.mikrotik:" + slot},
			{Name: "comment", Value: "rds-csi.1/g:1/" + strings.Repeat("n", 150)},
		},
	}
}

func rowOf(t *testing.T, c *console.Client, slot string) routeros.Row {
	t.Helper()
	rows, err := c.Print(t.Context(), listing)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.Get("slot") == slot {
			return r
		}
	}
	return nil
}

// A disk's life in the statements that the driver uses.
func TestSimulatedBox(t *testing.T) {
	_, c := simulated(t)
	pool := rowOf(t, c, "raid10")
	if pool.Get("size") != strconv.Itoa(1<<30) || pool.Get("mount-point") != "raid10" {
		t.Errorf("pool %q", pool)
	}
	made := c.Do(t.Context(), addition("a"))
	if made.Err != nil {
		t.Fatal(made.Err)
	}
	row := rowOf(t, c, "a")
	if row.Get(".id") != made.Value || row.Get("file-size") != "1048576" || row.Get("file-path") != "/raid10/a.img" || len(row.Get("comment")) != 164 {
		t.Errorf("row %q of %s", row, made.Value)
	}
	if r := c.Do(t.Context(), addition("a")); !errors.Is(r.Err, console.ErrStale) {
		t.Errorf("a second row over the file: %+v", r)
	}
	guards := func(gen string) []console.Condition {
		return []console.Condition{
			{Property: "file-path", Value: "/raid10/a.img"},
			{Property: "comment", Op: console.BeginsWith, Value: "rds-csi.1/g:" + gen + "/"},
			{Property: "comment", Op: console.BeginsNot, Value: "rds-csi.2/"},
		}
	}
	bounce := console.Set{Menu: "/disk", ID: made.Value, Guards: guards("1"), Changes: [][]console.Property{
		{{Name: "nvme-tcp-export", Value: "no"}, {Name: "comment", Value: "rds-csi.1/g:2/x"}},
		{{Name: "nvme-tcp-export", Value: "yes"}, {Name: "nvme-tcp-server-allow-host-name", Value: ""}, {Name: "comment", Value: "rds-csi.1/g:3/x"}},
	}}
	if r := c.Do(t.Context(), bounce); r.Err != nil || r.Steps != 2 {
		t.Errorf("bounce: %+v", r)
	}
	if r := c.Do(t.Context(), bounce); !errors.Is(r.Err, console.ErrStale) || r.Steps != 0 {
		t.Errorf("the same bounce again: %+v", r)
	}
	if row := rowOf(t, c, "a"); row.Get("comment") != "rds-csi.1/g:3/x" || row.Get("nvme-tcp-export") != "true" {
		t.Errorf("row %q", row)
	}
	file := console.RemoveFile{Name: "raid10/a.img"}
	results := c.Batch(t.Context(),
		console.Set{Menu: "/disk", ID: made.Value, Guards: guards("3"), Changes: [][]console.Property{{{Name: "nvme-tcp-export", Value: "no"}}}},
		console.Remove{Menu: "/disk", ID: "*FFFF"},
		console.Remove{Menu: "/disk", ID: made.Value, Guards: guards("9")},
		console.Remove{Menu: "/disk", ID: made.Value, Guards: guards("3")},
		file, file,
	)
	var trap *routeros.Trap
	for i, want := range []bool{true, false, false, true, true, false} {
		if (results[i].Err == nil) != want {
			t.Errorf("step %d of the removal: %v", i, results[i].Err)
		}
	}
	for _, i := range []int{1, 5} {
		if !errors.As(results[i].Err, &trap) || trap.Category != routeros.CategoryMissing || !strings.Contains(trap.Message, "no such item") {
			t.Errorf("step %d: %v", i, results[i].Err)
		}
	}
	if !errors.Is(results[2].Err, console.ErrStale) {
		t.Errorf("step 2: %v", results[2].Err)
	}
	if row := rowOf(t, c, "a"); row != nil {
		t.Errorf("row %q is left", row)
	}
	big := addition("b")
	big.Properties[3].Value = "2147483648"
	if r := c.Do(t.Context(), big); !errors.As(r.Err, &trap) || !strings.Contains(trap.Message, "space") {
		t.Errorf("a full pool: %v", r.Err)
	}
}

// Thirty-two statements in one script, one of which the box refuses to parse.
func TestSimulatedBatch(t *testing.T) {
	_, c := simulated(t)
	var statements []console.Statement
	for i := range console.MaxBatch {
		statements = append(statements, addition("d"+strconv.Itoa(i)))
	}
	statements[7] = console.Add{Menu: "/disk", Properties: []console.Property{{Name: "no-such-property", Value: "a"}}}
	for i, r := range c.Batch(t.Context(), statements...) {
		if (r.Err != nil) != (i == 7) {
			t.Errorf("statement %d: %v", i, r.Err)
		}
	}
	rows, err := c.Print(t.Context(), listing)
	if err != nil || len(rows) != console.MaxBatch {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

// What the box prints for people is read as well.
func TestSimulatedPrints(t *testing.T) {
	_, c := simulated(t)
	for _, slot := range []string{"a", "b", "c"} {
		if r := c.Do(t.Context(), addition(slot)); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	for _, line := range []string{"/disk print detail", "/disk print terse", "/disk print detail where type=file"} {
		out, err := c.Run(t.Context(), line)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := console.ParsePrint(out)
		if err != nil || len(rows) < 3 {
			t.Errorf("%s: %d rows, %v\n%s", line, len(rows), err, out)
			continue
		}
		last := rows[len(rows)-1].Row
		if last["slot"] != "c" || last["file-path"] != "/raid10/c.img" || last["size"] != "1048576" {
			t.Errorf("%s: %q", line, last)
		}
	}
	out, err := c.Run(t.Context(), ":put [/disk print as-value where type=file]")
	if err != nil {
		t.Fatal(err)
	}
	if rows, err := console.ParseAsValue(out); err != nil || len(rows) != 3 || rows[2]["file-path"] != "/raid10/c.img" {
		t.Errorf("as-value: %q, %v\n%s", rows, err, out)
	}
	var trap *routeros.Trap
	for _, line := range []string{"/dsk print", "/disk get *FFFF slot", "/disk print bogus=1"} {
		if out, err := c.Run(t.Context(), line); !errors.As(err, &trap) {
			t.Errorf("%s: %q, %v", line, out, err)
		}
	}
}

// A guarded write that many send is done once.
func TestSimulatedGuard(t *testing.T) {
	s, c := simulated(t)
	made := c.Do(t.Context(), addition("a"))
	if made.Err != nil {
		t.Fatal(made.Err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for i := range 6 {
		wg.Go(func() {
			r := c.Do(t.Context(), console.Set{
				Menu: "/disk", ID: made.Value,
				Guards:  []console.Condition{{Property: "comment", Op: console.BeginsWith, Value: "rds-csi.1/g:1/"}},
				Changes: [][]console.Property{{{Name: "comment", Value: "rds-csi.1/g:2/" + strconv.Itoa(i)}}},
			})
			mu.Lock()
			defer mu.Unlock()
			if r.Err == nil {
				done++
			} else if !errors.Is(r.Err, console.ErrStale) {
				t.Error(r.Err)
			}
		})
	}
	wg.Wait()
	if done != 1 {
		t.Errorf("%d writes were done", done)
	}
	s.DropConnections()
	<-c.Done()
}
