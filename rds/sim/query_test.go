// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"
	"strings"
	"testing"
)

// TestQuery holds the query language of the API's manual on one item.
func TestQuery(t *testing.T) {
	item := []field{{"slot", "vm-1"}, {"size", "900"}, {"comment", ""}, {"nvme-tcp-export", "true"}}
	for _, tt := range []struct {
		words string
		want  bool
	}{
		{"", true},
		{"slot", true},
		{"nothing", false},
		{"-slot", false},
		{"-nothing", true},
		{"slot=vm-1", true},
		{"=slot=vm-1", true},
		{"slot=vm", false},
		{"nothing=", false},
		{"comment=", true},
		{">comment=", false},
		{">slot=", true},
		{">size=1000", false}, // as text it would be greater
		{"<size=1000", true},
		{">size=900", false},
		{"<size=900", false},
		{"<slot=vm-2", true},
		{"<nothing=5", false},
		{"slot size", true},
		{"slot nothing", false},
		{"slot #!", false},
		{"nothing slot #|", true},
		{"nothing slot #&", false},
		{"nothing slot #|!", false},
		{"slot=vm-1 slot=vm-2 #| size=900 #&", true},
		{"nothing #.| #!", true},
		{"slot nothing #1", true}, // only what was at 1 stays
		{"slot nothing #0", false},
		{"slot nothing #1.|&", true},   // slot, nothing|slot
		{"nothing slot #.&&", false},   // nothing & (slot & slot)
		{"nothing slot #.&|", true},    // nothing | (slot & slot)
		{"nothing slot #1|&", false},   // a copy of nothing, joined twice
		{"nothing slot #1!&|!", false}, // !(nothing | (slot & !nothing))
	} {
		q, err := checkQuery(strings.Fields(tt.words))
		if err != nil {
			t.Errorf("checkQuery(%s): %v", tt.words, err)
			continue
		}
		if got, err := q.match(item); got != tt.want || err != nil {
			t.Errorf("%s: %v, %v, want %v", tt.words, got, err, tt.want)
		}
	}
	for _, bad := range []string{"#!", "#&", "slot #&", "slot #|", "#.", "#0", "slot #1", "slot #x", "slot #99999999999999999999", "slot #1|"} {
		if _, err := checkQuery(strings.Fields(bad)); err == nil {
			t.Errorf("checkQuery(%s) takes it", bad)
		}
	}
}

// FuzzCommand shows that no sentence stops the box, that what a sentence sets is found again, and
// that a query that was checked can be run on any item.
func FuzzCommand(f *testing.F) {
	f.Add("/disk/print\n?slot\n?#!\n=.proplist=a,b\n.tag=1", "slot", "x")
	f.Add("/disk/set\n=.id=*2\n=comment=a=b\n=comment=c", "size", "-9")
	f.Add("\n?#0.1.&|!\n?-\n?<=\n?>a=1\n=\n==\n.tag", "", "")
	f.Fuzz(func(t *testing.T, sentence, name, value string) {
		words := strings.Split(sentence, "\n")
		c, err := parseCommand(words)
		if err == nil && c.Name != words[0] {
			t.Errorf("%q is command %q", words, c.Name)
		}
		seen := map[string]bool{}
		for _, a := range c.Args {
			if seen[a.Name] {
				t.Errorf("%q sets %q twice", words, a.Name)
			}
			seen[a.Name] = true
			if !strings.Contains(sentence, "="+a.Name) || !strings.Contains(sentence, a.Value) {
				t.Errorf("%q sets %q to %q", words, a.Name, a.Value)
			}
		}
		q, err := checkQuery(c.queries)
		if err != nil {
			return
		}
		if _, err := q.match([]field{{name, value}, {"slot", "vm"}}); err != nil {
			t.Errorf("query %q was checked: %v", c.queries, err)
		}
	})
}

// FuzzTable shows that whatever a client sends, room adds up, names are single, a refused command
// leaves the table as it was, and what is saved is the table.
func FuzzTable(f *testing.F) {
	f.Add("add type=file slot=a file-path=/raid10/a file-size=1G\nset a file-size=2G comment=x\nset a comment=y\nremove a\nrmfile raid10/a")
	f.Add("add type=file file-path=/raid10/d/a file-size=1k nvme-tcp-export=yes\nadd type=file slot=b file-path=/raid10/d/b\nset *2,*3 comment=")
	f.Add("add type=file slot=a\xff file-path=/raid10/a file-size=1G\nadd type=file slot=a file-path=/raid10/\xff file-size=1G comment=<&>\x7f")
	f.Add("mkdir raid10/a\nadd type=file file-path=raid10/a/b file-size=9T\nrmfile raid10/a\nset *1 slot=x")
	p := pool{name: "raid10", filesystem: "xfs", capacity: 1 << 35, switches: Switches{SlotLimit: 32}}
	f.Fuzz(func(t *testing.T, script string) {
		if len(script) > 8<<10 {
			t.Skip("each line costs as much as all before it")
		}
		tab := table{next: 2, files: files{"raid10": {dir: true}}}
		var log []byte
		for _, line := range strings.Split(script, "\n") {
			next, err := step(tab, line, p)
			if err != nil && len(diff(tab.disks, next.disks)) > 0 {
				t.Fatalf("%q was refused (%v) and changed the disks", line, err)
			}
			if err == nil {
				log = checkSaved(t, log, tab, next)
				tab = next
			}
			if tab.used != tab.files.used() || tab.used > p.capacity || tab.used < 0 {
				t.Fatalf("after %q %d bytes are used, files have %d", line, tab.used, tab.files.used())
			}
			slots := map[string]bool{p.name: true}
			for _, d := range tab.disks {
				if slots[d.Slot] || d.bytes() <= 0 || d.ID >= tab.next {
					t.Fatalf("after %q the disks are %+v", line, tab.disks)
				}
				slots[d.Slot] = true
			}
		}
	})
}

// checkSaved checks that the configuration survives being written, as a line behind the log and whole,
// and returns the log.
func checkSaved(t *testing.T, log []byte, old, next table) []byte {
	t.Helper()
	changes := diff(old.disks, next.disks)
	if len(changes) == 0 {
		return log
	}
	line, err := encodeLine(0, next, changes)
	if err != nil {
		t.Fatal(err)
	}
	log = append(log, line...)
	whole, err := encodeWhole(1, next)
	if err != nil {
		t.Fatal(err)
	}
	stale := []byte(`{"next":99,"gone":[2],"set":[{"id":98}]}` + "\n")
	for _, in := range [][2][]byte{{nil, log}, {whole, nil}, {whole, stale}, {nil, append(slices.Clone(log), `{"next":99,"gone":[2`...)}} {
		c, err := readConfig(in[0], in[1])
		if err != nil || !slices.Equal(c.Disks, next.disks) || c.Next != next.next {
			t.Fatalf("saved as %q, %q: %v, want %+v", in[0], in[1], err, next.disks)
		}
	}
	return log
}

// step carries out a line of FuzzTable's script.
func step(t table, line string, p pool) (table, error) {
	words := strings.Fields(line)
	if len(words) < 2 {
		return t, errNoCommand
	}
	var args []Arg
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		args = append(args, Arg{name, value})
	}
	switch words[0] {
	case "add":
		next, _, err := t.add(args, p)
		return next, err
	case "set":
		return t.set(words[1], args[1:], p)
	case "remove":
		return t.remove(words[1], p)
	case "rmfile":
		return t.removeFiles(words[1], p)
	case "mkdir":
		return t.addDirectory(words[1], p)
	}
	return t, errNoCommand
}
