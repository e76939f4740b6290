// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package otlptest is a collector of traces for tests: a server of OTLP over gRPC that remembers the spans
// that it was sent.
//
// # Concurrency
//
// The methods of a Collector may be called from any goroutine. Listen starts one that serves, which Close ends.
//
// # Cancellation
//
// A Collector serves until Close is called. The context of Listen bounds the opening of its port alone.
package otlptest
