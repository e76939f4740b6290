// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package scenario runs stories about a cluster, its driver and its box, written as txtar scripts: comments
// tell what happens, and each command does a thing or waits until something is so. What a command can do
// stands in [Commands].
//
// A [Stage] is the control plane, which all scenarios share; each has its own namespace, nodes, driver and box,
// and leaves nothing behind. That a scenario which went well leaves no volume, no attachment and no file on the
// box is checked at its end.
//
// # Concurrency
//
// Scenarios run one after the other: there is one StorageClass and one CSIDriver.
//
// # Cancellation
//
// When the context of a Stage ends, the command under way fails, and the scenario cleans up after itself.
package scenario
