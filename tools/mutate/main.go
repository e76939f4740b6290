// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Command mutate proves the tests: it switches one deliberate fault after the other on, and demands that a
// test of the faulty package fails. The tree itself stays as it is: the go command is told by an overlay to
// take the faulty file in the place of the right one. Run it at the top of the tree.
//
//	go run ./tools/mutate                    # all of them
//	go run ./tools/mutate -only=epoch        # those whose package or name contains that
//
// Each package is compiled once for each fault, without its debugging information, and its tests run with
// -short until the first of them fails; all of them run only where none of those did. As many faults are
// tried at a time as there are processors.
//
// Before its first fault, the tests of a package are seen to pass without any. A fault that makes a test
// hang, or does not compile, is a fault of the list.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"time"
)

func main() {
	only := flag.String("only", "", "switch on those faults alone whose package or name contains this")
	jobs := flag.Int("jobs", runtime.GOMAXPROCS(0), "try this many faults at a time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *only, *jobs); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

// A verdict is what became of a fault.
type verdict struct {
	finding
	err     error // it could not be tried
	unsound bool  // nor could any other: the tests do not pass as they are
}

// run switches on each fault and reports those that no test catches.
func run(ctx context.Context, only string, jobs int) error {
	chosen := choose(only)
	if len(chosen) == 0 {
		return fmt.Errorf("no fault's package or name contains %q", only)
	}
	begin := time.Now()
	l, err := newLaboratory()
	if err != nil {
		return err
	}
	defer l.close()
	t := tell(chosen, l.tryAll(ctx, chosen, max(1, jobs)))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	fmt.Printf("\n%d deliberate faults in %v, with %v of CPU: %d of them not caught\n",
		len(chosen), time.Since(begin).Round(time.Second), t.cpu.Round(time.Second), t.survived)
	if t.survived > 0 {
		t.errs = append(t.errs, errors.New("the tests would let a fault pass: write one that does not"))
	}
	return errors.Join(t.errs...)
}

// choose returns the faults whose package or name contains a text.
func choose(only string) (chosen []mutant) {
	for _, m := range mutants() {
		if strings.Contains(m.pkg+": "+m.name, only) {
			chosen = append(chosen, m)
		}
	}
	return chosen
}

// tryAll tries faults, jobs at a time. Each has a channel that gets its verdict and is closed.
func (l *laboratory) tryAll(ctx context.Context, chosen []mutant, jobs int) []chan verdict {
	verdicts := make([]chan verdict, len(chosen))
	queue := make(chan int, len(chosen))
	for i := range chosen {
		verdicts[i] = make(chan verdict, 1)
		queue <- i
	}
	close(queue)
	sound := map[string]func() error{} // by package and tests: that they pass
	for _, m := range chosen {
		if sound[m.pkg+m.tests] == nil {
			sound[m.pkg+m.tests] = sync.OnceValue(func() error { return l.sound(ctx, m) })
		}
	}
	for range jobs {
		go func() {
			for i := range queue {
				verdicts[i] <- l.judge(ctx, chosen[i], sound[chosen[i].pkg+chosen[i].tests])
				close(verdicts[i])
			}
		}()
	}
	return verdicts
}

// judge tries one fault.
func (l *laboratory) judge(ctx context.Context, m mutant, sound func() error) verdict {
	if err := sound(); err != nil {
		return verdict{err: err, unsound: true}
	}
	f, err := l.try(ctx, m)
	return verdict{finding: f, err: err}
}

// A tally sums up.
type tally struct {
	survived int
	cpu      time.Duration
	errs     []error
}

// tell prints the verdicts in the order of the list: what a fault cost, and which test caught it.
func tell(chosen []mutant, verdicts []chan verdict) (t tally) {
	pkg := ""
	for i, m := range chosen {
		v := <-verdicts[i]
		t.cpu += v.cpu
		switch {
		case errors.Is(v.err, context.Canceled):
			continue
		case v.err != nil:
			if !v.unsound {
				v.err = fmt.Errorf("%s: fault %q: %w", m.pkg, m.name, v.err)
			}
			if n := len(t.errs); n == 0 || t.errs[n-1] != v.err { //nolint:errorlint // the same one
				t.errs = append(t.errs, v.err)
			}
			v.by = "COULD NOT BE TRIED"
		case v.by == "":
			t.survived++
			v.by = "NO TEST"
		}
		if m.pkg != pkg {
			pkg = m.pkg
			fmt.Printf("\n%s\n", pkg)
		}
		fmt.Printf("%6.1fs  %-68s %s\n", v.cpu.Seconds(), m.name, v.by)
	}
	return t
}
