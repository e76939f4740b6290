// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rds-csi/rds-csi/bench/process"
)

// role makes this test's program a child of itself.
const role = "PROCESS_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		goleak.VerifyTestMain(m)
	case "polite":
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		fmt.Println("ready")
		<-ctx.Done()
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		time.Sleep(time.Minute) // killed long before
	case "broken":
		fmt.Println("this is what went wrong")
		os.Exit(3)
	case "sore":
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		fmt.Println("ready")
		<-ctx.Done()
		stop()
		fmt.Println("cannot end in peace")
		os.Exit(1)
	}
}

func start(t *testing.T, as string, grace time.Duration) (*process.Process, string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	p, err := process.Start(process.Config{Path: os.Args[0], Env: []string{role + "=" + as}, Log: log, Grace: grace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop() })
	return p, log
}

// awaitReady waits until the child has said that its signals are set up.
func awaitReady(t *testing.T, log string) {
	t.Helper()
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		if b, err := os.ReadFile(log); err == nil && strings.Contains(string(b), "ready") {
			tick.Stop()
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("the child is not ready")
		}
	}
}

func TestStop(t *testing.T) {
	p, log := start(t, "polite", time.Minute)
	awaitReady(t, log)
	if err := p.Err(); err != nil {
		t.Errorf("a program that runs has an error: %v", err)
	}
	if cpu := p.CPU(); cpu != 0 {
		t.Errorf("a program that runs has spent %v", cpu)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	<-p.Done()
	if err := p.Stop(); err != nil {
		t.Errorf("the second Stop: %v", err)
	}
	if p.CPU() <= 0 {
		t.Error("a program that ended has spent no time")
	}
}

func TestStopKills(t *testing.T) {
	p, log := start(t, "deaf", 50*time.Millisecond)
	awaitReady(t, log)
	if err := p.Stop(); !errors.Is(err, process.ErrNotEnded) || !strings.Contains(err.Error(), "did not end within 50ms") {
		t.Errorf("error %v, want that it did not end", err)
	}
	<-p.Done()
}

func TestStopTellsOfAFailure(t *testing.T) {
	p, log := start(t, "sore", time.Minute)
	awaitReady(t, log)
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "cannot end in peace") {
		t.Errorf("error %v, want the program's last words", err)
	}
}

func TestErrOfAProgramThatEnds(t *testing.T) {
	p, _ := start(t, "broken", 0)
	<-p.Done()
	err := p.Err()
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "this is what went wrong") {
		t.Errorf("error %v, want the exit status and the last words", err)
	}
}

func TestStartOfNothing(t *testing.T) {
	dir := t.TempDir()
	if _, err := process.Start(process.Config{Path: filepath.Join(dir, "missing"), Log: filepath.Join(dir, "log")}); err == nil {
		t.Error("started a program that does not exist")
	}
	if _, err := process.Start(process.Config{Path: os.Args[0], Log: filepath.Join(dir, "missing", "log")}); err == nil {
		t.Error("started a program whose log cannot be written")
	}
}

func TestFreePorts(t *testing.T) {
	first, err := process.FreePorts(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(first+1)))
	if err != nil {
		t.Skipf("somebody else was faster: %v", err)
	}
	defer l.Close() //nolint:errcheck // a listener of a test
	second, err := process.FreePorts(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	if second <= first+1 && second+2 >= first+1 {
		t.Errorf("ports %d to %d are called free, %d is taken", second, second+2, first+1)
	}
	if _, err := process.FreePorts(t.Context(), 20000); err == nil {
		t.Error("found more ports than there are")
	}
}

// What is frozen does not even hear that it is to end; what was thawed does.
func TestFreeze(t *testing.T) {
	for _, thawed := range []bool{false, true} {
		grace := 100 * time.Millisecond
		if thawed {
			grace = time.Minute
		}
		p, log := start(t, "polite", grace)
		awaitReady(t, log)
		if err := p.Freeze(true); err != nil {
			t.Fatal(err)
		}
		if thawed {
			if err := p.Freeze(false); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Stop(); errors.Is(err, process.ErrNotEnded) == thawed {
			t.Errorf("thawed %t: stopped with %v", thawed, err)
		}
	}
}

// What crashes is not asked, and its log goes on with the next run.
func TestKillAndAppend(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	for run := range 2 {
		p, err := process.Start(process.Config{Path: os.Args[0], Env: []string{role + "=deaf"}, Log: log, Append: true})
		if err != nil {
			t.Fatal(err)
		}
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			if b, err := os.ReadFile(log); err == nil && strings.Count(string(b), "ready") == run+1 {
				tick.Stop()
				break
			}
			select {
			case <-tick.C:
			case <-t.Context().Done():
				t.Fatal("the child is not ready")
			}
		}
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
		if err := p.Kill(); err != nil {
			t.Error("killed twice:", err)
		}
		if p.Err() == nil {
			t.Error("a program that was killed has ended well")
		}
	}
}
