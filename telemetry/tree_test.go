// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

func spanContext(traceID, spanID byte) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{15: traceID}, SpanID: trace.SpanID{7: spanID}, TraceFlags: trace.FlagsSampled,
	})
}

// stub is a span that began and ended so many microseconds after the start of the test's world.
func stub(name string, traceID, spanID, parent byte, from, to int) tracetest.SpanStub {
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := tracetest.SpanStub{
		Name:        name,
		SpanContext: spanContext(traceID, spanID),
		StartTime:   begin.Add(time.Duration(from) * time.Microsecond),
		EndTime:     begin.Add(time.Duration(to) * time.Microsecond),
	}
	if parent != 0 {
		s.Parent = spanContext(traceID, parent)
	}
	return s
}

// world is a publish, a retry that joined it, and what is left of a trace whose root was forgotten.
func world() tracetest.SpanStubs {
	publish := stub("csi.v1.Controller/ControllerPublishVolume", 1, 1, 0, 0, 41_256)
	publish.Attributes = []attribute.KeyValue{
		attribute.String("rpc.system", "grpc"),
		attribute.String("rds_csi.volume.id", "pvc-1"),
		attribute.String("rds_csi.node.id", "worker-1"),
	}
	mailbox := stub("mailbox", 1, 2, 1, 10, 130)
	grant := stub("grant", 1, 3, 1, 140, 40_000)
	grant.Attributes = []attribute.KeyValue{attribute.Int("gen", 7), attribute.String("epoch", "lz3k\x1b[2J\n"+strings.Repeat("y", 100))}
	command := stub("rds write", 1, 4, 3, 200, 39_000)
	command.Status = sdktrace.Status{Code: codes.Error, Description: "read the answer: timeout"}
	readBack := stub("rds read", 1, 5, 3, 39_100, 39_900)
	reply := stub("reply", 1, 6, 1, 40_100, 1_240_100)

	retry := stub("csi.v1.Controller/ControllerPublishVolume", 2, 1, 0, 20_000, 41_300)
	retry.Links = []sdktrace.Link{{SpanContext: grant.SpanContext}, {SpanContext: spanContext(9, 9)}}
	wait := stub("mailbox", 2, 2, 1, 20_010, 20_020)

	orphan := stub("rds list", 3, 2, 1, 50_000, 50_001)
	child := stub("attempt", 3, 3, 2, 50_000, 50_001)
	// As they ended.
	return tracetest.SpanStubs{mailbox, command, readBack, grant, publish, wait, retry, child, orphan, reply}
}

func TestPrintTree(t *testing.T) {
	recorder := NewRecorder(0)
	for _, span := range world().Snapshots() {
		recorder.OnEnd(span)
	}
	var out strings.Builder
	if err := recorder.Print(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "trees.golden", out.String())

	out.Reset()
	if err := recorder.Print(&out, trace.TraceID{15: 2}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.Count(got, "trace 0000") != 3 || !strings.HasPrefix(got, "trace 00000000000000000000000000000002:") {
		t.Errorf("printing one trace gave:\n%s", got) // two of the three are links
	}
	if err := recorder.Print(brokenWriter{}); !errors.Is(err, errBroken) {
		t.Errorf("Print to a broken writer = %v", err)
	}
}

var errBroken = errors.New("broken")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

// The order in which spans end must not show.
func TestTreesDoNotDependOnOrder(t *testing.T) {
	spans := world().Snapshots()
	var first string
	for i := range spans {
		recorder := NewRecorder(0)
		for j := range spans {
			recorder.OnEnd(spans[(i+j)%len(spans)])
		}
		var out strings.Builder
		if err := recorder.Print(&out); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = out.String()
		} else if out.String() != first {
			t.Fatalf("rotated by %d:\n%s", i, &out)
		}
	}
}

func TestRecorderForgetsTheOldest(t *testing.T) {
	recorder := NewRecorder(3)
	for i := range 10 {
		recorder.OnEnd(stub(fmt.Sprint(i), byte(i+1), 1, 0, i, i+1).Snapshot())
	}
	var names []string
	for _, tree := range recorder.Trees() {
		names = append(names, tree.Roots[0].Name)
	}
	if got := strings.Join(names, " "); got != "7 8 9" {
		t.Errorf("kept %q, want the last three", got)
	}
	if cap(recorder.spans) != 3 {
		t.Errorf("grew to %d", cap(recorder.spans))
	}
}

func TestRecorderConcurrently(t *testing.T) {
	recorder := NewRecorder(50)
	tel := start(t, Config{Processors: sinks(recorder)})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				ctx, parent := tel.Tracer("test").Start(t.Context(), "parent")
				_, child := tel.Tracer("test").Start(ctx, "child")
				child.End()
				parent.End()
				recorder.Trees()
			}
		})
	}
	wg.Wait()
	spans := 0
	for _, tree := range recorder.Trees() {
		spans += tree.Spans
	}
	if spans != 50 {
		t.Errorf("%d spans, want 50", spans)
	}
}
