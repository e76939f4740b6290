// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package telemetry makes visible what the driver does: metrics for Prometheus, traces for an OTLP
// collector or for a terminal, and the HTTP port that serves metrics and health.
//
// New builds all of it at once, from a Config that holds everything. Other packages know nothing of
// this one: they call hooks, which are methods of Telemetry and take values of the standard library
// and of package actors alone.
//
// # Metrics
//
// Names, labels and buckets of the older driver stay as they were (names.go). No label names a
// volume, and every label's values are bounded, whatever a caller passes. Series whose labels are
// known beforehand begin at zero, so that a rate over a process's first failure is not lost. What a
// process can never count, a node's migrations or a controller's mounts, has no series in it.
//
// # Concurrency
//
// All methods of Telemetry and Recorder may be called from many goroutines. No hook blocks: metrics
// are atomics, and a span that the exporter has no room for is dropped. Serving /metrics and /healthz
// never waits for the box or for Kubernetes: values were pushed before, or come from the functions of
// Gauges, which must not block either.
//
// # Cancellation
//
// Server.Run ends with its context. Telemetry.Shutdown sends the spans that are left until its context
// ends, and then gives up on them.
package telemetry
