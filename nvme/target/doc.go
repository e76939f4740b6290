// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package target is an NVMe/TCP target in user space: subsystems of one namespace each, exported
// over ports, in the manner of Linux nvmet, which is what a RouterOS box runs. An unmodified Linux
// kernel connects to it.
//
// A Subsystem holds a Storage. It is reached through each Port that it is linked to. A host's
// Connect meets the same checks as at nvmet, and only then: taking a host off the allow list
// leaves its controllers alone; Drop, Unlink and Remove end them.
//
// # The fence
//
// When Drop, Port.Unlink or Remove returns, the connections that it ended have no call in their
// Storage any more and never make one again. Nothing is flushed. Whoever holds the Storage may then
// close it.
//
// # Memory
//
// Per connection: Config.BufferBytes for data that is on its way, Config.InCapsule for each command
// in flight, of which there are at most 2×Config.QueueSize, and about 40 KiB besides. There are at
// most Config.MaxConnections.
//
// # Concurrency
//
// All methods may be called from any goroutine, but not from the hooks or the Storage. Each
// connection has a goroutine that reads PDUs and executes admin commands, one that writes PDUs, and,
// as an I/O queue, Config.Workers that call the Storage. Commands of one queue complete in any
// order.
//
// # Cancellation
//
// Serve ends with its context, its listener or the Target. Close ends everything and waits for it.
package target
