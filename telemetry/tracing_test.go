// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/rds-csi/rds-csi/actors"
)

func sinks(processors ...sdktrace.SpanProcessor) []sdktrace.SpanProcessor { return processors }

// P5: counter, histogram and span tell one outcome, once.
func TestMigrationOutcomeIsToldOnce(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		kind   actors.AnnouncementKind
		result string
		failed bool
	}{
		{actors.MigrationCompleted, "success", false},
		{actors.MigrationFailed, "failed", true},
		{actors.MigrationTimedOut, "timeout", true},
	} {
		t.Run(c.result, func(t *testing.T) {
			spans := tracetest.NewSpanRecorder()
			tel := start(t, Config{Processors: sinks(spans)})
			tel.Announce(actors.Announcement{Kind: actors.MigrationStarted, Volume: volume, At: at.Add(-70 * time.Second), Source: "a", Target: "b"})
			tel.Announce(actors.Announcement{
				Kind: c.kind, Volume: volume, At: at, Source: "a", Target: "b", Duration: 70 * time.Second, Reason: "why",
			})
			for _, result := range migrationResults {
				n := " 0"
				if result == c.result {
					n = " 1"
				}
				want(t, tel, `rds_csi_migration_migrations_total{result="`+result+`"}`+n)
			}
			want(t, tel, `rds_csi_migration_duration_seconds_count 1`, `rds_csi_migration_duration_seconds_sum 70`)

			ended := spans.Ended()
			if len(ended) != 1 {
				t.Fatalf("%d spans, want 1", len(ended))
			}
			span := ended[0]
			if !span.StartTime().Equal(at.Add(-70*time.Second)) || !span.EndTime().Equal(at) {
				t.Errorf("span from %v to %v", span.StartTime(), span.EndTime())
			}
			got := make(map[string]string)
			for _, kv := range span.Attributes() {
				got[string(kv.Key)] = kv.Value.AsString()
			}
			if got["rds_csi.migration.result"] != c.result || got["rds_csi.volume.id"] != string(volume) ||
				got["rds_csi.migration.source"] != "a" || got["rds_csi.migration.target"] != "b" {
				t.Errorf("span attributes %v", got)
			}
			if failed := span.Status().Code == codes.Error; failed != c.failed || (failed && span.Status().Description != "why") {
				t.Errorf("span status %v", span.Status())
			}
		})
	}
}

func TestSampling(t *testing.T) {
	remote := func(flags trace.TraceFlags) context.Context {
		return trace.ContextWithRemoteSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: flags, Remote: true,
		}))
	}
	for _, c := range []struct {
		name   string
		sample float64
		ctx    context.Context
		want   bool
	}{
		{"all by default", 0, context.Background(), true},
		{"all", 1, context.Background(), true},
		{"none", -1, context.Background(), false},
		{"hardly any", 1e-18, context.Background(), false},
		{"hardly any, but the caller does", 1e-18, remote(trace.FlagsSampled), true},
		{"all, but the caller does not", 1, remote(0), false},
		{"none, whatever the caller does", -1, remote(trace.FlagsSampled), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tel := start(t, Config{Sample: c.sample, Processors: sinks(NewRecorder(0))})
			_, span := tel.Tracer("test").Start(c.ctx, "request")
			span.End()
			if span.SpanContext().IsSampled() != c.want {
				t.Errorf("sampled: %v, want %v", !c.want, c.want)
			}
		})
	}
}

func TestTracesCrossProcesses(t *testing.T) {
	recorder := NewRecorder(0)
	tel := start(t, Config{Processors: sinks(recorder)})
	ctx, client := tel.Tracer("test").Start(t.Context(), "client")
	wire := propagation.MapCarrier{}
	tel.Propagator().Inject(ctx, wire)
	if !strings.Contains(wire["traceparent"], client.SpanContext().TraceID().String()) {
		t.Fatalf("traceparent %q does not hold the trace", wire["traceparent"])
	}
	_, server := tel.Tracer("test").Start(tel.Propagator().Extract(context.Background(), wire), "server")
	server.End()
	client.End()
	if trees := recorder.Trees(); len(trees) != 1 || trees[0].Spans != 2 || len(trees[0].Roots) != 1 {
		t.Errorf("not one tree of two spans: %+v", trees)
	}
}

func TestSpansReachAnExporter(t *testing.T) {
	exporter := new(keepingExporter)
	tel, err := New(t.Context(), Config{Component: Controller, Driver: "d", Version: "v1", Instance: "i", Exporters: []sdktrace.SpanExporter{exporter}})
	if err != nil {
		t.Fatal(err)
	}
	_, span := tel.Tracer("csi").Start(t.Context(), "request")
	span.End()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(exporter.spans) != 1 || !exporter.closed {
		t.Fatalf("%d spans, closed %v", len(exporter.spans), exporter.closed)
	}
	got := exporter.spans[0]
	if name := got.InstrumentationScope().Name; name != "github.com/rds-csi/rds-csi/csi" {
		t.Errorf("scope %q", name)
	}
	for key, value := range map[string]string{
		"service.name": "rds-csi-controller", "service.version": "v1", "service.instance.id": "i", "rds_csi.driver": "d",
	} {
		if v, _ := got.Resource().Set().Value(attribute.Key(key)); v.AsString() != value {
			t.Errorf("%s is %q, want %q", key, v.AsString(), value)
		}
	}
	want(t, tel, `rds_csi_trace_spans_total{status="exported"} 1`, `rds_csi_trace_spans_total{status="failed"} 0`)
}

// keepingExporter keeps spans beyond its shutdown.
type keepingExporter struct {
	spans  []sdktrace.ReadOnlySpan
	closed bool
}

func (e *keepingExporter) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.spans = append(e.spans, spans...)
	return nil
}

func (e *keepingExporter) Shutdown(context.Context) error {
	e.closed = true
	return nil
}

// Ending a span must never wait, be the collector away or hung, however many spans there are; and the
// process must be able to end. Anything that waits makes the test hang.
func TestCollectorThatDoesNotAnswer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel and never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for name, address := range map[string]string{"hung": listener.Addr().String(), "away": closed.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			tel, err := New(t.Context(), Config{Driver: "d", OTLPEndpoint: address, OTLPInsecure: true})
			if err != nil {
				t.Fatal(err)
			}
			for range 3 * spanQueue {
				_, span := tel.Tracer("test").Start(t.Context(), "request")
				span.End()
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := tel.Shutdown(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Shutdown = %v, want context.Canceled", err)
			}
			want(t, tel, `rds_csi_trace_spans_total{status="exported"} 0`)
		})
	}
}

func TestFailedExportsAreCountedAndToldOnce(t *testing.T) {
	var log strings.Builder
	exporter := &guardedExporter{
		next: failing{}, stopped: t.Context(), spans: start(t, Config{}).metrics.spans, logger: slog.New(slog.NewTextHandler(&log, nil)),
	}
	spans := tracetest.SpanStubs{{Name: "a"}, {Name: "b"}}.Snapshots()
	for range 3 {
		if err := exporter.ExportSpans(t.Context(), spans); err != nil {
			t.Fatal(err)
		}
	}
	exporter.next = tracetest.NewNoopExporter()
	if err := exporter.ExportSpans(t.Context(), spans); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "cannot be exported"); n != 1 {
		t.Errorf("told %d times, want once:\n%s", n, &log)
	}
	if !strings.Contains(log.String(), "exported again") {
		t.Errorf("recovery was not told:\n%s", &log)
	}
}

func TestFlushTellsThatSpansWereNotSent(t *testing.T) {
	tel := start(t, Config{Exporters: []sdktrace.SpanExporter{failing{}}})
	_, span := tel.Tracer("test").Start(t.Context(), "request")
	span.End()
	for range 2 { // also when nothing was left to be sent
		if err := tel.Flush(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("Flush = %v, want what the exporter said", err)
		}
	}
}

type failing struct{}

func (failing) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	return errors.New("refused")
}
func (failing) Shutdown(context.Context) error { return nil }
