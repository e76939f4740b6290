// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/rds-csi/rds-csi/rds/sim"
)

func TestDemo(t *testing.T) {
	overEach(t, func(t *testing.T, over string) {
		var out strings.Builder
		if err := demo(t.Context(), demoOptions{transport: over, logger: slog.New(slog.DiscardHandler)}, &out); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		for _, want := range []string{
			"All 13 steps went as they should",
			"MigrationStarted", "MigrationCompleted", "FailedPrecondition", "InvalidArgument",
			`rds_csi_migration_migrations_total{result="success"}`,
			"volume.grant", "volume.revoke", "migration.result=success",
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("the demo says nothing of %q", want)
			}
		}
		if strings.Contains(out.String(), "password "+demoPassword) {
			t.Error("the password is printed without --serve")
		}
	})
}

// The demo must be able to fail: on a box that does not end the connections of an export that is
// turned off, the lost node goes on writing.
func TestDemoFailsWhereFencingDoes(t *testing.T) {
	overEach(t, func(t *testing.T, over string) {
		var out strings.Builder
		err := demo(t.Context(), demoOptions{
			transport: over, logger: slog.New(slog.DiscardHandler), switches: sim.Switches{KeepOnExportOff: true},
		}, &out)
		if err == nil {
			t.Fatalf("the demo succeeded on a box that does not fence:\n%s", out.String())
		}
		if !strings.Contains(out.String(), "FAILED") {
			t.Errorf("no step was said to have failed:\n%s", out.String())
		}
	})
}

func TestDemoServesUntilInterrupted(t *testing.T) {
	overEach(t, func(t *testing.T, over string) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		out := &notice{want: "Serving until interrupted", seen: cancel}
		if err := demo(ctx, demoOptions{serve: true, transport: over, logger: slog.New(slog.DiscardHandler)}, out); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, want := range []string{"/metrics", "/healthz", "unix://", "box, TLS", "box, SSH"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no address of %q", want)
			}
		}
	})
}

// A notice is a writer that says when it was written what was waited for.
type notice struct {
	strings.Builder
	want string
	seen func()
}

func (n *notice) Write(b []byte) (int, error) {
	i, err := n.Builder.Write(b)
	if strings.Contains(n.String(), n.want) {
		n.seen()
	}
	return i, err
}
