// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/rds-csi/rds-csi/actors"
)

// The components that a process may be.
const (
	Controller = "controller"
	Node       = "node"
)

// Config says what to tell, and to whom.
type Config struct {
	// Component is Controller, Node, or "" for a process that is both.
	Component string
	// Version is the driver's own. "" reads "unknown".
	Version string
	// Driver is the CSI driver's name. It must be set.
	Driver string
	// Instance tells processes of one component apart in traces: a pod's or a node's name. "" is the
	// host's name.
	Instance string

	// OTLPEndpoint is the host:port of a collector that takes OTLP over gRPC. "" sends nothing.
	OTLPEndpoint string
	// OTLPInsecure sends without TLS. Otherwise the system's certificate authorities are trusted.
	OTLPInsecure bool
	// Sample is the fraction of traces that are recorded, up to 1. A caller's decision that came with
	// a request goes before it. 0 records all, a negative value none.
	Sample float64
	// Exporters get batches of finished spans beside the collector.
	Exporters []sdktrace.SpanExporter
	// Processors see every span as it begins and ends, in the goroutine that ends it. They must not
	// block. A Recorder is one.
	Processors []sdktrace.SpanProcessor

	// Gauges are read whenever metrics are served.
	Gauges Gauges
	// Ready says why the process cannot serve yet, and nil when it can. It must not block. A nil
	// function is always ready.
	Ready func() error
	// Logger tells of failing exports and broken HTTP connections. nil discards.
	Logger *slog.Logger
}

// check reports ErrInvalid for values that cannot work.
func (c Config) check() error {
	switch c.Component {
	case Controller, Node, "":
	default:
		return fmt.Errorf("component %.32q is neither %s nor %s: %w", c.Component, Controller, Node, actors.ErrInvalid)
	}
	if c.Driver == "" {
		return fmt.Errorf("the driver's name is not set: %w", actors.ErrInvalid)
	}
	if !(c.Sample <= 1) { // a NaN is no fraction either
		return fmt.Errorf("sampled fraction %v is above 1: %w", c.Sample, actors.ErrInvalid)
	}
	if c.OTLPEndpoint == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(c.OTLPEndpoint)
	if err != nil || host == "" {
		return fmt.Errorf("OTLP endpoint %.80q is not host:port, without a scheme: %w", c.OTLPEndpoint, actors.ErrInvalid)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("OTLP endpoint %.80q has no port from 1 to 65535: %w", c.OTLPEndpoint, actors.ErrInvalid)
	}
	return nil
}

// Telemetry is the metrics and traces of one process. Its methods are the hooks that other packages
// call.
type Telemetry struct {
	config     Config
	registry   *prometheus.Registry
	metrics    *metrics
	provider   *sdktrace.TracerProvider
	tracer     trace.Tracer
	stopExport context.CancelFunc // abandons what is being exported
	exporters  []*guardedExporter
}

var _ actors.Announcer = (*Telemetry)(nil)

// New returns the telemetry of this process. It is ErrInvalid where the Config is. It connects to
// nobody: a collector that is away costs nothing but the spans that it misses.
func New(ctx context.Context, config Config) (*Telemetry, error) {
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("set telemetry up: %w", err)
	}
	if config.Version == "" {
		config.Version = "unknown"
	}
	if config.Instance == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("set telemetry up: read the host's name: %w", err)
		}
		config.Instance = name
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Telemetry{config: config, registry: prometheus.NewRegistry()}
	t.metrics = newMetrics(t.registry, config)
	if err := t.startTracing(ctx); err != nil {
		return nil, fmt.Errorf("set tracing up: %w", err)
	}
	return t, nil
}

// TracerProvider makes the tracers of every package.
func (t *Telemetry) TracerProvider() trace.TracerProvider { return t.provider }

// Tracer returns a tracer for a package, which is named by its path in the module.
func (t *Telemetry) Tracer(name string) trace.Tracer {
	return t.provider.Tracer("github.com/rds-csi/rds-csi/"+name, trace.WithInstrumentationVersion(t.config.Version))
}

// Propagator carries traces in requests as W3C Trace Context and Baggage do.
func (*Telemetry) Propagator() propagation.TextMapPropagator {
	return propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
}

// Flush sends the spans that have ended, and returns why they, or the last before them, could not be sent.
func (t *Telemetry) Flush(ctx context.Context) error {
	if err := t.provider.ForceFlush(ctx); err != nil {
		return fmt.Errorf("send the spans: %w", err)
	}
	for _, e := range t.exporters {
		if failure := e.failure.Load(); failure != nil {
			return fmt.Errorf("send the spans: %w", *failure)
		}
	}
	return nil
}

// Shutdown sends what spans are left and stops the exporters. When ctx ends first, the rest is
// dropped and the context's error returned. Spans that end later are lost; metrics go on. Nothing
// runs on when it has returned.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	defer t.stopExport()
	// The provider would leave its processors running when ctx ends, so it is not told of it. What it
	// waits for is.
	defer context.AfterFunc(ctx, t.stopExport)()
	if err := t.provider.Shutdown(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("stop tracing: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("send the last spans: %w", err)
	}
	return nil
}

// seconds is how Prometheus counts time.
func seconds(d time.Duration) float64 { return max(d, 0).Seconds() }
