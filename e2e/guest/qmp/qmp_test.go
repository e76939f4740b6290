// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package qmp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"testing"

	"go.uber.org/goleak"

	"github.com/rds-csi/rds-csi/e2e/guest/qmp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A request is what a client sends.
type request struct {
	Execute   string         `json:"execute"`
	ID        string         `json:"id"`
	Arguments map[string]any `json:"arguments"`
}

// machine answers a client as QEMU does; what a command answers is up to the test.
func machine(t *testing.T, answer func(request) string) *qmp.Client {
	t.Helper()
	near, far := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer far.Close() //nolint:errcheck // a pipe
		_, _ = fmt.Fprintln(far, `{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": ["oob"]}}`)
		in := bufio.NewScanner(far)
		for in.Scan() {
			var r request
			if json.Unmarshal(in.Bytes(), &r) != nil {
				return
			}
			text := `{"return": {}, "id": "` + r.ID + `"}`
			if r.Execute != "qmp_capabilities" {
				text = answer(r)
			}
			if text == "" {
				return
			}
			if _, err := fmt.Fprintln(far, text); err != nil {
				return
			}
		}
	}()
	c, err := qmp.New(t.Context(), near)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		<-ended
	})
	return c
}

func TestCommandsAreAnswered(t *testing.T) {
	c := machine(t, func(r request) string {
		switch r.Execute {
		case "query-status":
			// An event in between, and an answer for which nobody waits.
			return `{"event": "RESUME", "data": {}}` + "\n" + `{"return": {}, "id": "no one's"}` + "\n" +
				`{"return": {"status": "running"}, "id": "` + r.ID + `"}`
		case "human-monitor-command":
			return fmt.Sprintf(`{"return": "did %v\r\n", "id": "%s"}`, r.Arguments["command-line"], r.ID)
		}
		return `{"error": {"class": "CommandNotFound", "desc": "The command is unknown"}, "id": "` + r.ID + `"}`
	})
	var status struct{ Status string }
	if err := c.Execute(t.Context(), "query-status", nil, &status); err != nil || status.Status != "running" {
		t.Fatal(status, err)
	}
	if text, err := c.Human(t.Context(), "info usernet"); err != nil || text != "did info usernet\r\n" {
		t.Fatal(text, err)
	}
	var refused *qmp.CommandError
	if err := c.Execute(t.Context(), "fly", nil, nil); !errors.As(err, &refused) || refused.Class != "CommandNotFound" {
		t.Fatal(err)
	}
	if e, err := c.Await(t.Context(), 0, "STOP", "RESUME"); err != nil || e.Name != "RESUME" {
		t.Fatal(e, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if e, err := c.Await(ctx, c.Events(), "RESUME"); !errors.Is(err, context.Canceled) {
		t.Fatal("an event from before is told again:", e, err)
	}
}

func TestCommandsEndWithTheMachine(t *testing.T) {
	c := machine(t, func(request) string { return "" })
	if err := c.Execute(t.Context(), "quit", nil, nil); !errors.Is(err, qmp.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := c.Await(t.Context(), 0, "SHUTDOWN"); !errors.Is(err, qmp.ErrClosed) {
		t.Fatal(err)
	}
	<-c.Done()
	if err := c.Execute(t.Context(), "quit", nil, nil); !errors.Is(err, qmp.ErrClosed) {
		t.Fatal(err)
	}
}
