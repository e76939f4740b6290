// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package rds is a MikroTik ROSE Data Server as the driver uses it: volumes in exact bytes, over the
// RouterOS API or over SSH. A [Box] implements actors.Box, and creates, expands and deletes the disks.
//
// A volume is a row of /disk with type=file whose file is <volume path>/<volume ID>.img, whatever its
// slot is called. The ledger in the row's comment says which cluster owns it. A row of another
// cluster, or one with a damaged ledger, is never written.
//
// What a command did is decided by reading the row back, not by the text of an error: a refusal is
// believed when the row shows it, and an answer that did not come is never taken for a refusal. See
// the kinds of error in package actors, which every error here wraps exactly one of.
//
// # Concurrency
//
// A Box may be used from any number of goroutines. It keeps a bounded pool of sessions with the box. A
// command takes a place on one, in the order in which places were asked for, and holds it for nothing
// but itself. A quarter of the sessions are reserved for reads and revokes, so that no storm of grants
// can hold these up; of the others each gets its turn. Sessions are made while somebody waits and closed
// when nobody uses them; one on which the box stays silent past a command's deadline is given up, and
// the others go on. Over SSH, changes that wait for a session go together in one script, each guarded and
// with an answer of its own. Listings are shared: all who ask while one runs get the next one, together. A row's
// .id is used only on a session that is older than the listing that told it, since a reboot may number
// the rows anew.
//
// # Cancellation
//
// A command whose context ends, or whose deadline passes, is cancelled on the box and given up; it may
// have happened all the same, and its error is then actors.ErrUnresolved if it could change anything.
// The sessions are not the callers': they end with [Box.Close].
package rds
