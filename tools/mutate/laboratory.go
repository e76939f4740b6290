// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// The tests that are asked, in this order, until one fails. Both are bounded, generously: what hangs would not
// end.
var stages = [][]string{
	{"-test.short", "-test.timeout=10m"},
	{"-test.timeout=30m"},
}

// A laboratory is where faulty packages are compiled and tested.
type laboratory struct {
	tree string // its top
	dir  string // of its own, temporary
}

// A finding is what the tests of a package came to.
type finding struct {
	by  string        // the first test that failed; "": none
	cpu time.Duration // of compiling and testing
}

func newLaboratory() (*laboratory, error) {
	tree, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the tree: %w", err)
	}
	dir, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for faulty files: %w", err)
	}
	return &laboratory{tree: tree, dir: dir}, nil
}

func (l *laboratory) close() { _ = os.RemoveAll(l.dir) }

// sound reports an error unless the short tests of a mutant's package pass without it: else they prove
// nothing.
func (l *laboratory) sound(ctx context.Context, m mutant) error {
	f, err := l.test(ctx, m, nil, stages[:1])
	if err == nil && f.by != "" {
		err = fmt.Errorf("%s fails", f.by)
	}
	if err != nil {
		return fmt.Errorf("the tests of %s do not pass as they are: %w", m.pkg, err)
	}
	return nil
}

// try switches a mutant on and tests its package.
func (l *laboratory) try(ctx context.Context, m mutant) (finding, error) {
	replaced := map[string][]byte{}
	for _, f := range m.faults {
		name := filepath.Join(l.tree, m.path(f))
		src, err := os.ReadFile(name) //nolint:gosec // of the list here
		if err != nil {
			return finding{}, fmt.Errorf("run it at the top of the tree: %w", err)
		}
		if replaced[name] != nil {
			src = replaced[name]
		}
		if n := bytes.Count(src, []byte(f.right)); n != 1 {
			return finding{}, fmt.Errorf("%s has %d times %q: bring the list up to date", m.path(f), n, f.right)
		}
		replaced[name] = bytes.Replace(src, []byte(f.right), []byte(f.wrong), 1)
	}
	return l.test(ctx, m, replaced, stages)
}

// test compiles the tests of a mutant's package, with some files replaced, and runs them in stages until one
// fails.
func (l *laboratory) test(ctx context.Context, m mutant, replaced map[string][]byte, stages [][]string) (f finding, err error) {
	bench, err := os.MkdirTemp(l.dir, "")
	if err != nil {
		return f, fmt.Errorf("make a directory for a faulty file: %w", err)
	}
	defer func() { _ = os.RemoveAll(bench) }()
	overlay, err := writeOverlay(bench, replaced)
	if err != nil {
		return f, err
	}
	tests := filepath.Join(bench, "tests")
	out, err := f.run(ctx, l.tree, "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay="+overlay, "-o="+tests, "./"+m.pkg)
	if err != nil {
		return f, fmt.Errorf("compile it: %w\n%s", err, out)
	}
	for _, args := range stages {
		if err := f.ask(ctx, filepath.Join(l.tree, m.pkg), tests, m.tests, args); err != nil || f.by != "" {
			return f, err
		}
	}
	return f, nil
}

// repeats is how often a test that failed is asked again: it must fail once more. On a busy machine one may
// fail that knows nothing of the fault; it is left out then.
const repeats = 3

// crash stands for a test where the process ended and did not say in which.
const crash = "a panic"

// ask runs those tests that a regular expression names, and notes which one fails, and fails again.
func (f *finding) ask(ctx context.Context, dir, tests, which string, args []string) error {
	args = append([]string{"-test.failfast", "-test.paniconexit0"}, args...)
	without := "^$"
	for range repeats {
		out, err := f.run(ctx, dir, tests, append(args, "-test.run="+which, "-test.skip="+without)...)
		if err == nil {
			return nil
		}
		by, err := failed(out, err)
		if err != nil {
			return err
		}
		test, _, _ := strings.Cut(by, "/")
		alone := "^" + test + "$"
		if by == crash {
			alone = which
		}
		for range repeats {
			if _, err := f.run(ctx, dir, tests, append(args, "-test.run="+alone)...); err != nil {
				f.by = by
				return ctx.Err()
			}
		}
		without += "|" + alone
	}
	return fmt.Errorf("tests fail now and then: %s", without)
}

// run runs a command in a directory and returns what it says.
func (f *finding) run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // the go command, or what it has just made
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState != nil {
		f.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return out, err
}

// writeOverlay writes files and what tells the go command to take them in the place of others.
func writeOverlay(dir string, replaced map[string][]byte) (string, error) {
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for right, content := range replaced {
		overlay.Replace[right] = filepath.Join(dir, filepath.Base(right))
		if err := os.WriteFile(overlay.Replace[right], content, 0o600); err != nil {
			return "", fmt.Errorf("write what is faulty: %w", err)
		}
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return "", fmt.Errorf("write the overlay: %w", err)
	}
	name := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		return "", fmt.Errorf("write the overlay: %w", err)
	}
	return name, nil
}

var (
	failure = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)`)
	hanging = regexp.MustCompile(`(?m)^panic: test timed out after`)
	running = regexp.MustCompile(`(?m)^\t+(Test\S+) \(`)
)

// failed returns the first test that failed, by what tests said that ended with an error. One that hangs
// counts for none.
func failed(out []byte, err error) (string, error) {
	if hanging.Match(out) {
		at := "a test"
		if m := running.FindSubmatch(out); m != nil {
			at = string(m[1])
		}
		return "", fmt.Errorf("%s hangs", at)
	}
	if name := deepest(failure.FindAllSubmatch(out, -1)); name != "" {
		return name, nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && bytes.Contains(out, []byte("panic: ")) {
		return crash, nil
	}
	return "", fmt.Errorf("run the tests: %w\n%s", err, out)
}

// deepest returns the first test that failed, by the name of its first part that did.
func deepest(failures [][][]byte) (name string) {
	for _, f := range failures {
		if name == "" || strings.HasPrefix(string(f[1]), name+"/") {
			name = string(f[1])
		}
	}
	return name
}
