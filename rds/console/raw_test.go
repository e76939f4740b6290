// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/rds-csi/rds-csi/rds/console"
	"github.com/rds-csi/rds-csi/rds/routeros"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// simulatedSo is simulated with switches.
func simulatedSo(t *testing.T, sw sim.Switches) *console.Client {
	t.Helper()
	s, err := sim.Start(t.Context(), sim.Config{Dir: t.TempDir(), Username: "csi", Password: "hunter2-secret", Switches: sw})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	c, err := console.Dial(t.Context(), console.Config{
		Address: s.SSHAddr(), Username: "csi", Password: "hunter2-secret", HostKey: ssh.FingerprintSHA256(s.HostKey()),
		CommandTimeout: 3 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestExec(t *testing.T) {
	c := simulatedSo(t, sim.Switches{ExitStatus: 3})
	for line, want := range map[string]console.Output{
		":put hello":           {Text: "hello\r\n", Exited: true},
		`:error "failure: no"`: {Text: "failure: no\r\n", Exited: true, Status: 3},
		// No secret is told, even by the box.
		":put hunter2-secret": {Text: "***\r\n", Exited: true},
	} {
		if out, err := c.Exec(t.Context(), line); err != nil || out != want {
			t.Errorf("%s: %+v, %v, want %+v", line, out, err, want)
		}
	}
	if _, err := c.Exec(t.Context(), "two\nlines"); !errors.Is(err, routeros.ErrNotSent) {
		t.Errorf("two lines: %v", err)
	}
	c.Close()
	if _, err := c.Exec(t.Context(), ":put x"); !errors.Is(err, routeros.ErrNotSent) {
		t.Errorf("on a closed connection: %v", err)
	}
}

// TestExecTogether shows that lines have channels of their own at the same time, and that a box which serves one
// after the other is given up in time.
func TestExecTogether(t *testing.T) {
	c := simulatedSo(t, sim.Switches{ParallelChannels: true})
	lines := []string{":delay 200ms;:put a", ":put b", ":delay 100ms;:put c"}
	outputs, err := c.ExecTogether(t.Context(), lines...)
	if err != nil || len(outputs) != 3 {
		t.Fatalf("%+v, %v", outputs, err)
	}
	for i, want := range []string{"a", "b", "c"} {
		if strings.TrimSpace(outputs[i].Text) != want || !outputs[i].Exited {
			t.Errorf("output %d: %+v, want %s", i, outputs[i], want)
		}
	}
	if _, err := c.ExecTogether(t.Context(), ":put a", "b\nc"); !errors.Is(err, routeros.ErrNotSent) {
		t.Errorf("two lines in one: %v", err)
	}
	// Side by side two of 2 s end within the 3 s that a command has, one after the other they do not.
	if _, err := c.ExecTogether(t.Context(), ":delay 2s", ":delay 2s"); err != nil {
		t.Errorf("side by side: %v", err)
	}
	slow := simulatedSo(t, sim.Switches{})
	if _, err := slow.ExecTogether(t.Context(), ":delay 2s", ":delay 2s"); !errors.Is(err, routeros.ErrUnanswered) {
		t.Errorf("one after the other: %v", err)
	}
	if slow.Err() == nil {
		t.Error("the connection goes on after a line that was given up")
	}
}
