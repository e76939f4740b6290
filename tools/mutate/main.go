// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Command mutate proves the tests of the volume's state machine: it switches one deliberate fault after
// the other on in a copy of the package, and demands that a test fails. Run it at the top of the tree.
//
//	go run ./tools/mutate            # all of them
//	go run ./tools/mutate -only=epoch
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The tests that are asked, in this order, until one fails.
var stages = []struct {
	name string
	args []string
}{
	{"exploration", []string{"-run", "^TestExplore$", "-short"}},
	{"simulation", []string{"-run", "^TestSimulation$", "-sim.seeds=400"}},
	{"exploration in depth", []string{"-run", "^TestExplore$"}},
	{"another test", []string{"-short", "-failfast"}},
}

func main() {
	only := flag.String("only", "", "switch on the faults alone whose names contain this")
	flag.Parse()
	if err := run(context.Background(), *only); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

// run switches on each fault and reports those that no test catches.
func run(ctx context.Context, only string) error {
	var ran, survived int
	for _, m := range mutants {
		if !strings.Contains(m.name, only) {
			continue
		}
		by, err := m.caught(ctx)
		if err != nil {
			return fmt.Errorf("fault %q: %w", m.name, err)
		}
		ran++
		if by == "" {
			survived++
			by = "NO TEST"
		}
		fmt.Printf("%-52s caught by %s\n", m.name, by)
	}
	fmt.Printf("%d deliberate faults, %d of them not caught\n", ran, survived)
	switch {
	case ran == 0:
		return fmt.Errorf("no fault's name contains %q", only)
	case survived > 0:
		return errors.New("the tests would let a fault pass: write one that does not")
	}
	return nil
}

// caught returns which stage of the tests catches the fault, and the empty string if none does.
func (m mutant) caught(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return "", fmt.Errorf("make a copy's directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := m.copyTo(dir); err != nil {
		return "", err
	}
	if out, err := goRun(ctx, dir, "vet", "./actors"); err != nil {
		return "", fmt.Errorf("the faulty copy does not compile: %w\n%s", err, out)
	}
	for _, s := range stages {
		out, err := goRun(ctx, dir, append([]string{"test", "-count=1", "-timeout=10m", "./actors"}, s.args...)...)
		if err == nil {
			continue
		}
		if !bytes.Contains(out, []byte("--- FAIL")) && !bytes.Contains(out, []byte("panic:")) {
			return "", fmt.Errorf("run the tests: %w\n%s", err, out)
		}
		return s.name, nil
	}
	return "", nil
}

func goRun(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // of the lists here
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("go %s: %w", args[0], err)
	}
	return out, nil
}

// copyTo copies what the package needs, with the fault in it.
func (m mutant) copyTo(dir string) error {
	for _, name := range []string{"go.mod", "go.sum"} {
		if err := copyFile(name, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "actors"), os.DirFS("actors")); err != nil {
		return fmt.Errorf("copy the package: %w", err)
	}
	name := filepath.Join(dir, "actors", m.file)
	src, err := os.ReadFile(name) //nolint:gosec // of the list here
	if err != nil {
		return fmt.Errorf("read what is to be faulty: %w", err)
	}
	if n := bytes.Count(src, []byte(m.right)); n != 1 {
		return fmt.Errorf("%s has %d times %q: bring the list up to date", m.file, n, m.right)
	}
	src = bytes.Replace(src, []byte(m.right), []byte(m.wrong), 1)
	if err := os.WriteFile(name, src, 0o600); err != nil {
		return fmt.Errorf("write what is faulty: %w", err)
	}
	return nil
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from) //nolint:gosec // of the list here
	if err != nil {
		return fmt.Errorf("copy, run it at the top of the tree: %w", err)
	}
	return os.WriteFile(to, b, 0o600)
}
