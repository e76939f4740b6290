// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/rds-csi/rds-csi/rds/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noEnv is an environment without variables.
func noEnv(string) string { return "" }

// TestRun shows that the addresses are printed in one block, that the program ends with its context,
// and that the password stays unsaid.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte("hush-hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pr, pw := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{
			"--dir", filepath.Join(dir, "box"), "--capacity", "10G", "--pool", "pool1", "--api", "127.0.0.1:0",
			"--api-tls", "off", "--ssh", "127.0.0.1:0", "--control", "127.0.0.1:0", "--user", "csi", "--password-file", secret, "--verbose",
		}, noEnv, pw, &stderr)
		_ = pw.Close()
	}()
	first := make([]byte, 4096)
	n, err := pr.Read(first)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	rest, err := io.ReadAll(pr)
	if err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != exitOK {
		t.Errorf("exit code %d, want 0: %s", got, &stderr)
	}
	out := string(first[:n]) + string(rest)
	want := regexp.MustCompile(`^Simulated ROSE Data Server.*
  directory    \S*box
  pool         /pool1, 10\.0 GiB free of 10\.0 GiB, 0 disks
  api          127\.0\.0\.1:\d+
  api-tls      off
  certificate  \S*tls\.crt
  ssh          127\.0\.0\.1:\d+
  host key     SHA256:\S+
  control      127\.0\.0\.1:\d+
  nvme/tcp     127\.0\.0\.1, each disk at its own port
  user         csi
  password     set
$`)
	if !want.MatchString(out) {
		t.Errorf("output is\n%s", out)
	}
	if strings.Contains(out+stderr.String(), "hush") {
		t.Errorf("the password is told:\n%s%s", out, &stderr)
	}
}

// TestMisuse holds what is refused, and what is said of it.
func TestMisuse(t *testing.T) {
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"--help", exitOK, "-capacity"},
		{"--colour red", exitUsage, "flag provided but not defined: -colour"},
		{"extra", exitUsage, `"extra" is no flag`},
		{"--control 0.0.0.0:0", exitUsage, "--control-anywhere"},
		{"--control nonsense", exitUsage, "not host:port"},
		{"--control localhost:0", exitUsage, "not on a loopback address"},
		{"--authorized-keys /nowhere/at/all", exitUsage, "read the authorized keys"},
		{"--ssh 0.0.0.0:0", exitFailure, "not a loopback address, which an empty password needs"},
		{"--capacity 1P", exitUsage, `--capacity "1P" is not a size such as 500G`},
		{"--capacity 0", exitUsage, "--capacity"},
		{"--policies read,dude", exitFailure, `"dude" is none of the policies`},
		{"--rose-storage gone", exitUsage, "none of installed, disabled, available, missing"},
		{"--max-sessions 0", exitUsage, "--max-sessions 0 is not at least 1"},
		{"--password-file /nowhere/at/all", exitUsage, "read the password"},
		{"--api 0.0.0.0:0", exitFailure, "not a loopback address, which an empty password needs"},
		{"--api nonsense", exitFailure, "not host:port"},
		{"--pool ../x", exitFailure, "pool name"},
		{"--nvme-host example.com", exitFailure, "not an IP address"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			args := append([]string{"--dir", filepath.Join(t.TempDir(), "box"), "--api", "127.0.0.1:0", "--api-tls", "off", "--ssh", "off"}, strings.Fields(tt.args)...)
			if code := run(t.Context(), args, noEnv, &stdout, &stderr); code != tt.code || stdout.Len() > 0 {
				t.Errorf("exit code %d, want %d; output %q", code, tt.code, &stdout)
			}
			if !strings.Contains(stderr.String(), tt.want) {
				t.Errorf("error output is %q, want %q in it", &stderr, tt.want)
			}
		})
	}
}

// TestPasswordVariable shows that the environment holds the password, and a file goes before it.
func TestPasswordVariable(t *testing.T) {
	env := func(name string) string { return map[string]string{passwordVariable: "from-env"}[name] }
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(" from file \r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{"from-env": nil, " from file ": {"--password-file", file}} {
		opts, err := parse(args, env, io.Discard)
		if err != nil || opts.box.Password != want {
			t.Errorf("%q: password %q, %v, want %q", args, opts.box.Password, err, want)
		}
	}
}

// TestSettings shows that the settings of a box are what the flags say.
func TestSettings(t *testing.T) {
	args := strings.Fields("--policies read,api --rose-storage disabled --pool-state degraded --pool-missing --no-certificate --identity box-1 --routeros 7.22.2")
	opts, err := parse(args, noEnv, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	got := opts.box
	if got.Policies != "read,api" || got.Storage != sim.Disabled || got.PoolState != "degraded" || !got.PoolMissing || !got.NoCertificate ||
		got.Identity != "box-1" || got.Version != "7.22.2" {
		t.Errorf("the box is %+v", got)
	}
	if opts, err := parse(nil, noEnv, io.Discard); err != nil || opts.box.Storage != sim.Installed || opts.box.Policies != "" {
		t.Errorf("without flags the box is %+v, %v", opts.box, err)
	}
}
