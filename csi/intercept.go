// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rds-csi/rds-csi/actors"
)

// Hooks let others count what a Server does. They must not block.
type Hooks struct {
	// Operation is called after each RPC with its name, as in CreateVolume, the name of its status
	// code, as in OK, and how long it took. Nil: nobody counts.
	Operation func(method, code string, d time.Duration)
}

// serveOne is the server's only interceptor: it names the volume in the span, calls the handler,
// turns its error into a status, and tells the log and the hooks. It is the one place that logs a
// request.
func (s *Server) serveOne(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	method := path.Base(info.FullMethod)
	annotate(trace.SpanFromContext(ctx), req)
	start := time.Now()
	resp, err := s.call(ctx, req, method, handler)
	err = Status(err)
	d := time.Since(start)
	code := status.Code(err)
	s.log(ctx, method, code, d, req, err)
	s.cfg.Hooks.Operation(method, code.String(), d)
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// call runs the handler and turns a panic into an error. What a method that changes something did
// before it panicked is unknown, so the caller is told to retry; of one that only reads, it is
// known to have done nothing.
func (s *Server) call(ctx context.Context, req any, method string, handler grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		s.cfg.Logger.ErrorContext(ctx, "request panicked", "method", method, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		if readsOnly(method) {
			err = status.Errorf(codes.Internal, "%s panicked: see the driver's log", method)
			return
		}
		err = fmt.Errorf("%s panicked, see the driver's log: %w", method, actors.ErrUnresolved)
	}()
	return handler(ctx, req)
}

// readsOnly reports whether a method changes nothing, by its name.
func readsOnly(method string) bool {
	switch method {
	case "Probe", "GetPluginInfo", "GetPluginCapabilities", "GetCapacity", "ValidateVolumeCapabilities", "ListVolumes", "ListSnapshots", "GetSnapshot":
		return true
	}
	return strings.HasPrefix(method, "ControllerGet") || strings.HasPrefix(method, "ControllerList") || strings.HasPrefix(method, "NodeGet")
}

// log writes one record: requests that change something at level info, the others at debug, refusals
// at warn, and faults of the driver at error.
func (s *Server) log(ctx context.Context, method string, code codes.Code, d time.Duration, req any, err error) {
	level := slog.LevelInfo
	switch {
	case code == codes.Internal || code == codes.Unknown || code == codes.DataLoss:
		level = slog.LevelError
	case err != nil:
		level = slog.LevelWarn
	case readsOnly(method):
		level = slog.LevelDebug
	}
	if !s.cfg.Logger.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", method),
		slog.String("code", code.String()),
		slog.Duration("duration", d),
		slog.Any("request", redacted{req}),
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", status.Convert(err).Message()))
	}
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		attrs = append(attrs, slog.String("trace-id", sc.TraceID().String()))
	}
	s.cfg.Logger.LogAttrs(ctx, level, "request served", attrs...)
}

// annotate names the request's volume and node in the span. The values come from outside and are
// unchecked, so they are bounded.
func annotate(span trace.Span, req any) {
	if !span.IsRecording() {
		return
	}
	if r, ok := req.(interface{ GetVolumeId() string }); ok {
		span.SetAttributes(attribute.String("rds_csi.volume.id", bounded(r.GetVolumeId())))
	}
	if r, ok := req.(interface{ GetNodeId() string }); ok {
		span.SetAttributes(attribute.String("rds_csi.node.id", bounded(r.GetNodeId())))
	}
	if r, ok := req.(interface{ GetName() string }); ok {
		span.SetAttributes(attribute.String("rds_csi.volume.name", bounded(r.GetName())))
	}
}

// bounded cuts between characters: a collector refuses a whole batch of spans for half of one.
func bounded(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxString)], "") }
