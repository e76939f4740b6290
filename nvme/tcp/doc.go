// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package tcp is the wire format of NVMe over TCP: the PDUs of the NVMe/TCP Transport
// Specification 1.0, and the commands, completions and data structures of the NVMe Base
// Specification 2.0 that a host and a target of block storage exchange in them. It is shared by
// the target and the host; it keeps no protocol state beyond one PDU.
//
// All integers are little-endian. Reserved fields are written as zero and ignored when read.
//
// # Memory
//
// A Reader holds one header. It never allocates what a header claims: data goes into the caller's
// buffers, and a PDU whose data is longer than the Limits is a ProtocolError before a byte of it
// was read.
//
// # Concurrency
//
// A Reader or a Writer belongs to one goroutine at a time. The two of one connection are
// independent of each other.
//
// # Cancellation
//
// Calls end when the underlying connection is closed or its deadline passes.
package tcp
