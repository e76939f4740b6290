// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package routeros speaks the RouterOS API, the binary protocol on TCP port 8728 (8729 with TLS),
// as MikroTik's manual describes it under "API".
//
// A sentence is a list of words and ends with a word of no bytes. [AppendSentence] and [Reader] are
// the wire form, for either side of a connection. [Client] is the user's side: it logs in, runs many
// commands at a time on one connection, and tells for each command that fails whether the router may
// have run it.
//
// # Concurrency
//
// A Client may be used from any number of goroutines. It has two of its own: one writes what has
// gathered, one reads and hands each reply to the command that its tag names. A command is registered
// under its tag before its bytes are sent, so that no answer can be too fast; a tag is never used
// twice on a connection, so that no answer can be too late to be told from another's. The reader
// never waits for a user: a [Listener] that does not keep up is ended. Close waits for both goroutines.
//
// # Cancellation
//
// A context that ends ends one command: its caller returns at once, the router is told to cancel it,
// and what it still answers is dropped. Nothing else on the connection is touched. What no context can
// tell is whether the router ran the command; see [ErrNotSent] and [ErrUnanswered].
package routeros
