// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/rds-csi/rds-csi/telemetry/otlptest"
)

func TestDemoSaysThatTracesCannotBeSent(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	err := demo(t.Context(), demoOptions{transport: demoTLS, otlp: "127.0.0.1:1", logger: slog.New(slog.DiscardHandler)}, &out)
	if err == nil || !strings.Contains(err.Error(), "--otlp 127.0.0.1:1") {
		t.Fatalf("got %v", err)
	}
}

func TestDemoSendsItsTraces(t *testing.T) {
	sink, err := otlptest.Listen(t.Context(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sink.Close(); err != nil {
			t.Error(err)
		}
	}()
	var out strings.Builder
	if err := demo(t.Context(), demoOptions{transport: demoTLS, otlp: sink.Address(), logger: slog.New(slog.DiscardHandler)}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "The traces were sent") {
		t.Error("the demo does not say that the traces were sent")
	}
	names := sink.Names()
	for _, name := range []string{"demo", "csi.v1.Controller/ControllerPublishVolume", "volume.mailbox", "volume.grant", "rds.grant", "migration"} {
		if !slices.Contains(names, name) {
			t.Errorf("no span %q was sent, but %q", name, names)
		}
	}
}
