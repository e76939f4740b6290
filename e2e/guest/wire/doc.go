// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package wire is how a test and the agent in its guest speak over a serial port: requests and answers in JSON,
// one in each line, with numbers by which they are matched.
//
// A serial port loses and mixes in whatever it likes while a machine boots. So each line begins anew and carries a
// checksum, and what is no whole line is passed over.
//
// # Concurrency
//
// A Client's methods may be called from many goroutines; it has one that reads. Serve has a goroutine for each
// request under way.
//
// # Cancellation
//
// The end of a call's context is told to the other side, whose handler's context ends then; the call does not wait
// for that. When the connection ends, so does everything on it.
package wire
