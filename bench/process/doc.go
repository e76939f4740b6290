// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package process runs the programs of a benchmark as processes of their own, and ends them.
//
// # Concurrency
//
// The methods of a Process may be called from any goroutine. Start starts one goroutine, which ends
// with the process.
//
// # Cancellation
//
// A process lives until it ends by itself or Stop is called: whoever calls Start defers Stop.
package process
