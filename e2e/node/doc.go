// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package node is the node plugin on a machine whose kernel has no NVMe/TCP: the driver's real Node service
// on its real socket, mounts that are only noted down, and connections that are real, made by the user-space
// initiator, so that what a VM writes arrives at the box.
//
// # Concurrency
//
// All methods may be called from many goroutines. Each connection has goroutines of its own; so have the
// server and each Writer.
//
// # Cancellation
//
// Plugin.Close ends the server, the writers and the connections, and returns when nothing runs any more.
package node
