// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package doctor examines a box before people put their disks on it.
//
// [Examine] looks and changes nothing: it reads over the transports that the flags configure, and opens TCP
// connections. What it uses of a session is a [Reader], which has no way to change anything.
//
// [Experiment] settles what nobody has seen a real box do: each open question is a field of sim.Switches,
// and its answer says which way that field must stand to simulate this box. It works on scratch disks that
// it makes, under names with a random UUID that nobody else has. A row is written or removed only while it
// shows that name, and in its comment the mark with the same UUID; a file is removed only by a name that this
// run, or a marked row of an earlier one, gave it. After each question its disks and files are removed, also
// when it fails or the context ends, and what could not be removed is reported.
//
// # Concurrency
//
// Examine and Experiment run in their caller's goroutine and ask one thing after the other. A [Report] is
// for one goroutine.
//
// # Cancellation
//
// When its context ends, Experiment asks nothing more and takes at most a minute to remove what is there.
package doctor
