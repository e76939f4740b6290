// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package box runs the simulated box as a process, and asks it over its control port what it holds.
//
// # Concurrency
//
// A Box's methods may be called from many goroutines, Start and Stop apart.
package box
