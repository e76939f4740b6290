// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package kernel is where kernels that nobody changed meet the driver: guests with its node plugin, its controller
// without Kubernetes, and the simulated box, all processes. The stories are the tests of this package.
//
// # Concurrency
//
// A Stage and a Volume are for one goroutine; a Stage boots its nodes side by side.
//
// # Cancellation
//
// A context bounds each step. Close ends all processes.
package kernel
