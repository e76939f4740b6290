// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rds-csi/rds-csi/bench/instant"
)

// play makes this test's program stand in for the programs that a run starts: it says how the
// controller behaves.
const play = "STORM_TEST_PLAY"

func TestMain(m *testing.M) {
	mode := os.Getenv(play)
	if mode == "" {
		goleak.VerifyTestMain(m)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	code := child(ctx, mode, os.Args[1:])
	stop()
	os.Exit(code)
}

// child is one of the programs, by its arguments.
func child(ctx context.Context, mode string, args []string) int {
	switch {
	case args[0] == "version":
		fmt.Println("rds-csi in a test")
	case args[0] == "controller":
		return controller(ctx, mode, args[1:])
	case strings.HasPrefix(args[0], "--instant="):
		return run(ctx, args, os.Stdout, os.Stderr)
	default: // the box
		fmt.Println("box with", strings.Join(args, " "))
		<-ctx.Done()
	}
	return exitOK
}

// controller has the flags of rds-csi controller, serves volumes from memory, and says that each look
// at its metrics found four commands more.
func controller(ctx context.Context, mode string, args []string) int {
	fs := flag.NewFlagSet("controller", flag.ExitOnError)
	endpoint := fs.String("endpoint", "", "")
	address := fs.String("http-address", "", "")
	for _, name := range []string{"nodes", "cluster-id", "rds-address", "rds-user", "rds-password-file", "volume-path"} {
		fs.String(name, "", "")
	}
	fs.Bool("kubernetes", true, "")
	fs.Bool("rds-plain", false, "")
	_ = fs.Parse(args)
	if mode == "dies" {
		fmt.Println("the controller's last words")
		return 3
	}
	scrapes := 0
	server := &http.Server{Addr: *address, ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if mode == "no metrics" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		scrapes++
		_, _ = fmt.Fprintf(w, "%s{command=\"set\"} %d\n%s{command=\"print\"} %d\n", commandCount, scrapes, commandCount, 3*scrapes)
	})}
	go func() { _ = server.ListenAndServe() }()
	defer server.Close() //nolint:errcheck // the process ends
	if err := instant.Serve(ctx, strings.TrimPrefix(*endpoint, "unix://")); err != nil {
		fmt.Println(err)
		return exitFailed
	}
	return exitOK
}

// runWith runs the whole program on stand-ins. It returns the exit code, what was printed, and the
// directory of the report.
func runWith(t *testing.T, mode string, args ...string) (code int, stdout, stderr, out string) {
	t.Helper()
	t.Setenv(play, mode)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, tmp := t.TempDir(), t.TempDir()
	if len(tmp) > 60 { // a socket's path has 107 bytes
		if tmp, err = os.MkdirTemp("", "storm-"); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(tmp) //nolint:errcheck // a temporary directory
	}
	t.Setenv("TMPDIR", tmp)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // else each stand-in lingers for a second after its end
	var o, e strings.Builder
	code = run(t.Context(), append([]string{"--rds-csi=" + self, "--rds-sim=" + self, "--out=" + out}, args...), &o, &e)
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, error %v", left, err)
	}
	return code, o.String(), e.String(), out
}

func TestRun(t *testing.T) {
	code, stdout, stderr, out := runWith(t, "well", "--volumes=5", "--workers=3", "--repeat=2")
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, errors:\n%s", code, stderr)
	}
	var files []string
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		files = append(files, e.Name())
	}
	if want := []string{"instant.log", "rds-csi.log", "rds-sim.log", "storm.json", "storm.svg", "storm.txt"}; !slices.Equal(files, want) {
		t.Errorf("the report has %v, want %v", files, want)
	}
	table, err := os.ReadFile(out + "/storm.txt")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(stdout, string(table)) {
		t.Errorf("printed:\n%s\nwritten:\n%s", stdout, table)
	}
	for _, want := range []string{"5 volumes, 10 nodes, 3 workers, 2 rounds", "rds-csi in a test", "attach: print 6, set 2\n", "CPU time in all: rds-sim "} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is missing in:\n%s", want, stdout)
		}
	}
	// Ten attaches, and four commands in each of two rounds.
	line := row(stdout, "attach", "rds-csi")
	if len(line) != 13 || line[2] != "10" || line[10] != "0.80" || line[12] != "%" {
		t.Errorf("the attaches are %v", line)
	}
	if line := row(stdout, "attach-twice", "instant"); len(line) != 12 || line[2] != "20" || line[10] != "-" {
		t.Errorf("the baseline's doubled attaches are %v", line)
	}
	if b, err := os.ReadFile(out + "/rds-sim.log"); err != nil || !strings.Contains(string(b), "--service-time=5ms") {
		t.Errorf("the box printed %q, error %v", b, err)
	}
}

// row returns the cells of a table's line.
func row(table, phase, driver string) []string {
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == phase && f[1] == driver {
			return f
		}
	}
	return nil
}

func TestRunFails(t *testing.T) {
	for mode, want := range map[string]string{
		"dies":       "the controller's last words",
		"no metrics": "count the box's commands: metrics: 503",
	} {
		t.Run(mode, func(t *testing.T) {
			code, _, stderr, out := runWith(t, mode, "--volumes=2")
			if code != exitFailed || !strings.Contains(stderr, want) {
				t.Errorf("exit code %d, errors:\n%s\nwant %q", code, stderr, want)
			}
			if _, err := os.Stat(out + "/storm.json"); err == nil {
				t.Error("a run that failed has a report")
			}
		})
	}
}

func TestRunGivesUp(t *testing.T) {
	code, _, stderr, _ := runWith(t, "well", "--timeout=1ns")
	if code != exitFailed || stderr == "" {
		t.Errorf("exit code %d, errors:\n%s", code, stderr)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--volumes=0"},
		{"--volumes=4001"},
		{"--nodes=1"},
		{"--workers=0"},
		{"--repeat=0"},
		{"--service-time=-1ms"},
		{"--service-time=2s"},
		{"--timeout=0"},
		{"more"},
		{"--nonsense"},
	} {
		if code := run(t.Context(), args, io.Discard, io.Discard); code != exitUsage {
			t.Errorf("%v: exit code %d, want %d", args, code, exitUsage)
		}
	}
	if code := run(t.Context(), []string{"--help"}, io.Discard, io.Discard); code != exitOK {
		t.Errorf("--help: exit code %d", code)
	}
}

func TestProgramsThatAreMissing(t *testing.T) {
	var stderr strings.Builder
	code := run(t.Context(), []string{"--rds-csi=/missing/rds-csi", "--out=" + t.TempDir()}, io.Discard, &stderr)
	if code != exitFailed || !strings.Contains(stderr.String(), "make build") {
		t.Errorf("exit code %d, errors:\n%s", code, stderr.String())
	}
}

func TestSumBy(t *testing.T) {
	const metrics = `# HELP rds_csi_rds_command_duration_seconds commands to the box
# TYPE rds_csi_rds_command_duration_seconds histogram
rds_csi_rds_command_duration_seconds_bucket{command="set",result="success",le="+Inf"} 1000
rds_csi_rds_command_duration_seconds_sum{command="set",result="success"} 5.5
rds_csi_rds_command_duration_seconds_count{command="set",result="success"} 40
rds_csi_rds_command_duration_seconds_count{result="unavailable",command="set"} 2
rds_csi_rds_command_duration_seconds_count{command="print",result="success"} 1e3
rds_csi_rds_command_duration_seconds_counter{command="set"} 9
plain 1
`
	for metric, want := range map[string]map[string]float64{
		commandCount: {"set": 42, "print": 1000}, "missing": {},
	} {
		if got, err := sumBy(strings.NewReader(metrics), metric, "command"); err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: %v, error %v, want %v", metric, got, err, want)
		}
	}
	for _, broken := range []string{"m{command=\"set\"} x\n", "m{command=\"set\"\n"} {
		if _, err := sumBy(strings.NewReader(broken), "m", "command"); err == nil {
			t.Errorf("%q was read", broken)
		}
	}
}
