// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package scenario runs stories about a cluster, its driver and its box, written as txtar scripts: comments
// tell what happens, and each command does a thing or waits until something is so. What a command can do
// stands in [Commands].
//
// A [Stage] has several control planes. A scenario takes one, which it has for itself, and gives it back with
// nothing left behind; namespace, nodes, driver and box are its own. That a scenario which went well leaves no
// volume, no attachment and no file on the box is checked at its end, and so is that counter, histogram, events
// and spans agree about each of its migrations, with each other and with what the script knows of them.
//
// # Concurrency
//
// As many scenarios run at a time as there are control planes. They share none: there is one CSIDriver in each, one
// Lease, and one API server that a story may take away. A control plane is started when a scenario needs one and
// none is idle, and stays until the Stage is closed.
//
// # Cancellation
//
// When the context of a Stage ends, the command under way fails, and the scenario cleans up after itself.
package scenario
