// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"os"
	"strings"
	"testing"
)

// What is sent is what the package's documentation promises to whoever simulates a box.
func TestStatementsAsDocumented(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var examples []string
	for _, block := range strings.Split(string(doc), "\n//\n") {
		if !strings.HasPrefix(block, "//\t") {
			continue
		}
		// Breaks stand for nothing after a brace or a semicolon, for a space otherwise.
		text := strings.ReplaceAll(strings.TrimPrefix(block, "//\t"), "\n//\t", "\n")
		for _, end := range []string{"{", ";"} {
			text = strings.ReplaceAll(text, end+"\n", end)
		}
		examples = append(examples, strings.ReplaceAll(text, "\n", " "))
	}
	joined := strings.Join(examples, "\n")
	file := Condition{Property: "file-path", Value: "/raid10/a.img"}
	guards := []Condition{
		file,
		{Property: "comment", Op: BeginsWith, Value: "rds-csi.1/a"},
		{Property: "comment", Op: BeginsNot, Value: "other.8/"},
	}
	off := []Property{{"nvme-tcp-export", "no"}, {"comment", "x"}}
	on := []Property{{"nvme-tcp-export", "yes"}, {"comment", "y"}}
	guard := `[:tostr [/disk get *5 value-name=file-path]]="/raid10/a.img"`
	for _, tt := range []struct {
		name string
		st   Statement
	}{
		{"list", List{Menu: "/disk", Properties: []string{".id", "type", "comment"}, Any: []Condition{{Property: "type", Value: "file"}, {Property: "mount-point", Op: Present}}}},
		{"add", Add{Menu: "/disk", Properties: []Property{{"type", "file"}, {"slot", "a"}, {"file-size", "1073741824"}}, Unless: []Condition{file}}},
		{"set", Set{Menu: "/disk", ID: "*5", Guards: guards, Changes: [][]Property{off}}},
		{"bounce", Set{Menu: "/disk", ID: "*5", Guards: []Condition{file}, Changes: [][]Property{off, on}}},
		{"remove", Remove{Menu: "/disk", ID: "*5", Guards: []Condition{file}}},
		{"remove file", RemoveFile{Name: "raid10/a.img"}},
	} {
		body, err := tt.st.body("@N:i:")
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		short := strings.ReplaceAll(body, "("+guard+")", "…")
		if !strings.Contains(joined, body) && !strings.Contains(joined, short) {
			t.Errorf("%s is not as documented:\n%s\n%s", tt.name, body, joined)
		}
	}
	part, err := wrapped(RemoveFile{Name: "raid10/a.img"}, "@N:i:")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := RemoveFile{Name: "raid10/a.img"}.body("@N:i:")
	if want := strings.ReplaceAll(part, body, "BODY"); !strings.Contains(joined, strings.TrimSuffix(want, ";")) {
		t.Errorf("the wrapping is not as documented: %s", want)
	}
}

func TestScript(t *testing.T) {
	s := newScript("0123abcd")
	for i := range 2 {
		if fits, err := s.add(i, RemoveFile{Name: "a"}); err != nil || !fits {
			t.Fatal(fits, err)
		}
	}
	want := `:put "@0123abcd:begin:` + strings.Repeat("=", 284) + `";` +
		`:onerror e in={/file remove numbers="a";:put "@0123abcd:0:ok;0:;"} do={:put ("@0123abcd:0:error;" . [:len $e] . ":" . $e . ";")};` +
		`:onerror e in={/file remove numbers="a";:put "@0123abcd:1:ok;0:;"} do={:put ("@0123abcd:1:error;" . [:len $e] . ":" . $e . ";")};` +
		`:put "@0123abcd:end;2;"`
	if got := s.text(); got != want {
		t.Errorf("script = %s\nwant %s", got, want)
	}
	if n := len(s.ruler()); n != rulerWidth {
		t.Errorf("the first line has %d bytes", n)
	}
}

// Statements that are too long for one script go into several, none is left out, and no script is too
// long for an SSH packet.
func TestPack(t *testing.T) {
	var statements []Statement
	for i := range MaxBatch {
		statements = append(statements, RemoveFile{Name: strings.Repeat("a", 100*(i+1))})
	}
	statements[3] = RemoveFile{Name: `"`}
	statements[5] = RemoveFile{Name: strings.Repeat("a", maxWord+1)}
	results := make([]Result, len(statements))
	scripts := pack(statements, results)
	if len(scripts) < 2 {
		t.Fatalf("%d scripts", len(scripts))
	}
	next := 0
	for _, s := range scripts {
		if n := len(s.text()); n > MaxScript {
			t.Errorf("a script has %d bytes", n)
		}
		for _, i := range s.index {
			for next == 3 || next == 5 {
				next++
			}
			if i != next {
				t.Errorf("statement %d comes where %d should", i, next)
			}
			next++
		}
	}
	if next != len(statements) {
		t.Errorf("%d of %d statements are packed", next, len(statements))
	}
	for i, r := range results {
		if bad := i == 3 || i == 5; bad != (r.Err != nil) {
			t.Errorf("statement %d: %v", i, r.Err)
		}
	}
}
