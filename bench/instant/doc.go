// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package instant is a CSI driver without a box that answers at once from memory. What a storm
// costs on it is the cost of gRPC, of the kernel's sockets and of the storm itself; what it costs
// more on another driver is that driver's.
//
// # Concurrency
//
// A Driver's methods are called from many goroutines. One mutex is held for the time of a map
// access.
package instant
