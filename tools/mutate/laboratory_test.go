// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTry switches faults on in a package that is there to be tried, and leaves that as it is.
func TestTry(t *testing.T) {
	t.Chdir("testdata")
	l, err := newLaboratory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.close()
		if _, err := os.Stat(l.dir); err == nil {
			t.Errorf("%s is left", l.dir)
		}
	})
	before, err := os.ReadFile("flawed/flawed.go")
	if err != nil {
		t.Fatal(err)
	}
	in := func(right, wrong string) fault { return fault{"", "flawed.go", right, wrong} }
	for _, test := range []struct {
		name   string
		tests  string
		faults []fault
		by     string
		err    string
	}{
		{"caught by a part of a test", "", []fault{in("a > b", "a < b")}, "TestLarger/first", ""},
		{"caught by a long test", "", []fault{in("a < b", "a > b")}, "TestSmaller", ""},
		{"caught by a test that is not asked", "TestLarger", []fault{in("a < b", "a > b")}, "", ""},
		{"caught by nothing", "", []fault{in("a > b", "a >= b")}, "", ""},
		{"two at a time", "", []fault{in("a > b", "a < c"), in("func Larger(a, b int) int {", "func Larger(a, b int) int {\n\tc := b")}, "TestLarger/first", ""},
		{"a panic", "", []fault{in("if a > b {\n\t\treturn a", "if a > b {\n\t\tpanic(a)")}, "TestLarger/first", ""},
		{"the end of the process", "", []fault{in("if a > b {\n\t\treturn a", "if a > b {\n\t\tgo panic(a)\n\t\tselect {}")}, "a panic", ""},
		{"not there", "", []fault{in("a == b", "a != b")}, "", `0 times "a == b"`},
		{"more than once", "", []fault{in("return b", "return a")}, "", "2 times"},
		{"no Go", "", []fault{in("a > b", "a >")}, "", "compile"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := l.try(t.Context(), mutant{pkg: "flawed", tests: test.tests, faults: test.faults})
			if got.by != test.by || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("caught by %q, %v, want %q, %q", got.by, err, test.by, test.err)
			}
		})
	}
	t.Run("a test that fails once is no proof", func(t *testing.T) {
		t.Setenv("FLAWED_ONCE", filepath.Join(t.TempDir(), "x"))
		got, err := l.try(t.Context(), mutant{pkg: "flawed", faults: []fault{in("a > b", "a >= b")}})
		if got.by != "" || err != nil {
			t.Errorf("caught by %q, %v", got.by, err)
		}
	})
	if after, err := os.ReadFile("flawed/flawed.go"); err != nil || string(after) != string(before) {
		t.Errorf("the package was changed: %v", err)
	}
	if err := l.sound(t.Context(), mutant{pkg: "flawed"}); err != nil {
		t.Errorf("as it is: %v", err)
	}
}

// TestAHangIsNoProof: a test that hangs would end after ten minutes, and for another reason on another machine.
func TestAHangIsNoProof(t *testing.T) {
	out := "panic: test timed out after 1s\n\trunning tests:\n\t\tTestLarger (1s)\n\t\tTestLarger/first (1s)\n--- FAIL: TestOther (0.00s)\n"
	if by, err := failed([]byte(out), os.ErrDeadlineExceeded); by != "" || err == nil || !strings.Contains(err.Error(), "TestLarger hangs") {
		t.Errorf("%q, %v", by, err)
	}
}

// TestTell sums up.
func TestTell(t *testing.T) {
	all := []mutant{{name: "a", pkg: "p"}, {name: "b", pkg: "p"}, {name: "c", pkg: "q"}, {name: "d", pkg: "r"}, {name: "e", pkg: "r"}}
	verdicts := make([]chan verdict, len(all))
	for i, v := range []verdict{
		{finding: finding{by: "TestX", cpu: 1}},
		{finding: finding{cpu: 2}},
		{finding: finding{cpu: 4}, err: os.ErrNotExist},
		{err: os.ErrInvalid, unsound: true},
		{err: os.ErrInvalid, unsound: true},
	} {
		verdicts[i] = make(chan verdict, 1)
		verdicts[i] <- v
	}
	if got := tell(all, verdicts); got.survived != 1 || got.cpu != 7 || len(got.errs) != 2 {
		t.Errorf("%+v", got)
	}
}
