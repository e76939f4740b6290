// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const (
	spanQueue     = 4096             // finished spans that wait for an exporter; the rest are dropped
	maxAttribute  = 1024             // characters of an attribute's value; the rest is cut off
	exportTimeout = 10 * time.Second // of one batch, retries included
)

// startTracing builds the tracer provider.
func (t *Telemetry) startTracing(ctx context.Context) error {
	what, err := t.resource(ctx)
	if err != nil {
		return err
	}
	exporters := t.config.Exporters
	if t.config.OTLPEndpoint != "" {
		otlp, err := newOTLP(ctx, t.config)
		if err != nil {
			return err
		}
		exporters = append([]sdktrace.SpanExporter{otlp}, exporters...)
	}
	limits := sdktrace.NewSpanLimits()
	limits.AttributeValueLengthLimit = maxAttribute
	options := []sdktrace.TracerProviderOption{
		sdktrace.WithResource(what),
		sdktrace.WithRawSpanLimits(limits),
		sdktrace.WithSampler(t.sampler(len(exporters) + len(t.config.Processors))),
	}
	for _, processor := range t.config.Processors {
		options = append(options, sdktrace.WithSpanProcessor(processor))
	}
	stopped, stop := context.WithCancel(context.WithoutCancel(ctx))
	for _, exporter := range exporters {
		guarded := &guardedExporter{next: exporter, stopped: stopped, spans: t.metrics.spans, logger: t.config.Logger}
		t.exporters = append(t.exporters, guarded)
		options = append(options, sdktrace.WithBatcher(guarded, sdktrace.WithMaxQueueSize(spanQueue), sdktrace.WithExportTimeout(exportTimeout)))
	}
	t.provider = sdktrace.NewTracerProvider(options...)
	t.stopExport = stop
	t.tracer = t.Tracer("telemetry")
	return nil
}

// resource says whose spans these are, by the names of the OpenTelemetry semantic conventions.
// OTEL_RESOURCE_ATTRIBUTES may add to it.
func (t *Telemetry) resource(ctx context.Context) (*resource.Resource, error) {
	service := "rds-csi"
	if t.config.Component != "" {
		service += "-" + t.config.Component
	}
	what, err := resource.New(ctx, resource.WithFromEnv(), resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", service),
		attribute.String("service.version", t.config.Version),
		attribute.String("service.instance.id", t.config.Instance),
		attribute.String("rds_csi.driver", t.config.Driver),
	))
	if err != nil {
		return nil, fmt.Errorf("describe this process: %w", err)
	}
	return what, nil
}

// sampler decides which traces are recorded, given how many look at them.
func (t *Telemetry) sampler(watchers int) sdktrace.Sampler {
	switch {
	case watchers == 0 || t.config.Sample < 0:
		return sdktrace.NeverSample()
	case t.config.Sample == 0:
		return sdktrace.ParentBased(sdktrace.AlwaysSample())
	}
	return sdktrace.ParentBased(sdktrace.TraceIDRatioBased(t.config.Sample))
}

// newOTLP makes the exporter to a collector. It connects in the background.
func newOTLP(ctx context.Context, config Config) (sdktrace.SpanExporter, error) {
	options := []otlptracegrpc.Option{
		otlptracegrpc.WithEndpoint(config.OTLPEndpoint),
		otlptracegrpc.WithTimeout(exportTimeout),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{
			Enabled:         true,
			InitialInterval: time.Second,
			MaxInterval:     5 * time.Second,
			MaxElapsedTime:  exportTimeout,
		}),
	}
	if config.OTLPInsecure {
		options = append(options, otlptracegrpc.WithInsecure())
	}
	exporter, err := otlptracegrpc.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("export to %s: %w", config.OTLPEndpoint, err)
	}
	return exporter, nil
}

// A guardedExporter counts what became of spans, logs when that changes, rather than each time, and
// gives up on an export when the process does.
type guardedExporter struct {
	next    sdktrace.SpanExporter
	stopped context.Context // ended by Shutdown
	spans   *prometheus.CounterVec
	logger  *slog.Logger
	failure atomic.Pointer[error] // of the last export; nil: it succeeded
}

// ExportSpans implements sdktrace.SpanExporter. It never fails: a failure has been told.
func (e *guardedExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := e.bound(ctx)
	defer cancel()
	if err := e.next.ExportSpans(ctx, spans); err != nil {
		e.spans.WithLabelValues("failed").Add(float64(len(spans)))
		if e.failure.Swap(&err) == nil {
			e.logger.Warn("traces cannot be exported", "error", err)
		}
		return nil
	}
	e.spans.WithLabelValues("exported").Add(float64(len(spans)))
	if e.failure.Swap(nil) != nil {
		e.logger.Info("traces are exported again")
	}
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (e *guardedExporter) Shutdown(ctx context.Context) error {
	ctx, cancel := e.bound(ctx)
	defer cancel()
	if err := e.next.Shutdown(ctx); err != nil && e.stopped.Err() == nil {
		return fmt.Errorf("close an exporter: %w", err)
	}
	return nil
}

// bound returns a context that also ends when the exporter is to give up.
func (e *guardedExporter) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(e.stopped, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}
