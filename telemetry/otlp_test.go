// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/telemetry/otlptest"
)

// What is exported arrives at a collector as it was said.
func TestCollectorGetsWhatWasSaid(t *testing.T) {
	c, err := otlptest.Listen(t.Context(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	tel, err := New(t.Context(), Config{Driver: "d", OTLPEndpoint: c.Address(), OTLPInsecure: true})
	if err != nil {
		t.Fatal(err)
	}
	tel.Announce(actors.Announcement{
		Kind: actors.MigrationTimedOut, Volume: "pvc-1", At: time.UnixMilli(1), Source: "a", Target: "b", Reason: "too slow", DecidedBy: "deadline",
	})
	_, span := tel.Tracer("test").Start(t.Context(), "fine", trace.WithAttributes(attribute.Int("number", 1), attribute.String("text", "one")))
	span.SetStatus(codes.Ok, "")
	span.End()
	if err := errors.Join(tel.Shutdown(t.Context()), c.Close()); err != nil {
		t.Fatal(err)
	}

	if names := c.Names(); !slices.Equal(names, []string{"fine", "migration"}) {
		t.Errorf("names %q", names)
	}
	for name, want := range map[string]otlptest.Span{
		"fine": {Attributes: map[string]string{"text": "one"}},
		"migration": {Failed: true, Attributes: map[string]string{
			"rds_csi.volume.id": "pvc-1", "rds_csi.migration.source": "a", "rds_csi.migration.target": "b",
			"rds_csi.migration.result": "timeout", "rds_csi.migration.decided_by": "deadline",
		}},
	} {
		got := c.Spans(name)
		if len(got) != 1 || got[0].Name != name || got[0].Failed != want.Failed || !maps.Equal(got[0].Attributes, want.Attributes) {
			t.Errorf("spans %q: %+v, want %+v", name, got, want)
		}
	}
}
