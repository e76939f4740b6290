// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package otlptest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// A Span is what a test looks at of a span.
type Span struct {
	Name   string
	Failed bool
	// Attributes are the span's own, of those that are strings.
	Attributes map[string]string
}

// A Collector takes spans from whoever sends them, and keeps them until it is dropped.
type Collector struct {
	collector.UnimplementedTraceServiceServer

	server  *grpc.Server
	address string
	served  chan error // has room for one; why serving ended

	mu    sync.Mutex
	spans []Span // in the order in which they came
}

// Listen opens a port of an IP address of this machine and serves there. Close must follow.
func Listen(ctx context.Context, host string) (*Collector, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, fmt.Errorf("listen for traces: %w", err)
	}
	c := &Collector{server: grpc.NewServer(), address: l.Addr().String(), served: make(chan error, 1)}
	collector.RegisterTraceServiceServer(c.server, c)
	go func() { c.served <- c.server.Serve(l) }()
	return c, nil
}

// Address returns host:port of the Collector, which takes no TLS.
func (c *Collector) Address() string { return c.address }

// Close ends the Collector. What it was sent stays.
func (c *Collector) Close() error {
	c.server.Stop()
	if err := <-c.served; err != nil {
		return fmt.Errorf("serve the collector of traces: %w", err)
	}
	return nil
}

// Spans returns the spans of a name, in the order in which they came.
func (c *Collector) Spans(name string) []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var named []Span
	for _, s := range c.spans {
		if s.Name == name {
			named = append(named, s)
		}
	}
	return named
}

// Names returns the names of all spans, each once, in order.
func (c *Collector) Names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, s := range c.spans {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Export implements the TraceService.
func (c *Collector) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range req.GetResourceSpans() {
		for _, scope := range r.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, Span{
					Name: s.GetName(), Failed: s.GetStatus().GetCode() == trace.Status_STATUS_CODE_ERROR,
					Attributes: texts(s.GetAttributes()),
				})
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func texts(attributes []*common.KeyValue) map[string]string {
	values := make(map[string]string, len(attributes))
	for _, a := range attributes {
		if text, ok := a.GetValue().GetValue().(*common.AnyValue_StringValue); ok {
			values[a.GetKey()] = text.StringValue
		}
	}
	return values
}
