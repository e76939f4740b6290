// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPortsAreRead(t *testing.T) {
	text := "Hub -1 (net):\r\n" +
		"  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n" +
		"  TCP[TIME_WAIT]     81       10.0.2.15 32934      127.64.9.9  4420     0     0\r\n" +
		"  TCP[HOST_FORWARD]  11       127.0.0.1 38247       10.0.2.15 10000     0     0\r\n" +
		"  TCP[HOST_FORWARD]  12       127.0.0.1 38249       10.0.2.15    22     0     0\r\n" +
		"  UDP[236 sec]       14       10.0.2.15 49213      10.0.2.3     53     0     0\r\n"
	if got, want := parsePorts(text), map[int]int{10000: 38247, 22: 38249}; !maps.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// program writes a script that stands in for QEMU.
func program(t *testing.T, script string) Config {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "qemu")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	return Config{QEMU: path, Image: "vmlinuz", Initrd: "initrd", Dir: filepath.Join(dir, "m")}
}

func TestAMachineThatEndsIsNotWaitedFor(t *testing.T) {
	_, err := Start(t.Context(), program(t, "echo 'no such machine' >&2; exit 1"))
	if err == nil || !strings.Contains(err.Error(), "no such machine") {
		t.Fatal("what QEMU said is not told:", err)
	}
}

func TestAMachineThatDoesNotAnswerIsEnded(t *testing.T) {
	cfg := program(t, "exec sleep 1000")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, cfg); !errors.Is(err, ctx.Err()) && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
}
