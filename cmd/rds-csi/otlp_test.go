// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

// A traceSink is a collector that remembers the names of the spans it was sent.
type traceSink struct {
	collector.UnimplementedTraceServiceServer
	mu    sync.Mutex
	names map[string]bool
}

func (s *traceSink) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range req.GetResourceSpans() {
		for _, scope := range r.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				s.names[span.GetName()] = true
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func TestDemoSaysThatTracesCannotBeSent(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	err := demo(t.Context(), demoOptions{transport: demoTLS, otlp: "127.0.0.1:1", logger: slog.New(slog.DiscardHandler)}, &out)
	if err == nil || !strings.Contains(err.Error(), "--otlp 127.0.0.1:1") {
		t.Fatalf("got %v", err)
	}
}

func TestDemoSendsItsTraces(t *testing.T) {
	sink := &traceSink{names: map[string]bool{}}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, sink)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	var out strings.Builder
	if err := demo(t.Context(), demoOptions{transport: demoTLS, otlp: l.Addr().String(), logger: slog.New(slog.DiscardHandler)}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "The traces were sent") {
		t.Error("the demo does not say that the traces were sent")
	}
	sink.mu.Lock()
	defer sink.mu.Unlock()
	for _, name := range []string{"demo", "csi.v1.Controller/ControllerPublishVolume", "volume.mailbox", "volume.grant", "rds.grant", "migration"} {
		if !sink.names[name] {
			t.Errorf("no span %q was sent, but %v", name, sink.names)
		}
	}
}
