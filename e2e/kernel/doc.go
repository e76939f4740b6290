// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package kernel is where kernels that nobody changed meet the driver: guests with its node plugin, its controller
// without Kubernetes, and the simulated box, all processes. The stories are the tests of this package.
//
// # The report
//
// What I/O saw of an event is a [Row], which a story adds to the [Report] of its run. A run that told every story on
// every kernel saves what was told; from that, a template with the prose makes docs/reference/data-path.md
// ([Told.Page]). To tell of something new, a story fills a Row and names its table, and the template has a line
// {{table "NAME"}}. A table's columns are those that its rows fill: a [Witness] tells what the kernel and the driver
// did, and what else was measured is a [Figure]. All kernels tell of the same events and volumes. Then
//
//	make e2e-kernel    # tells all stories, and saves what they tell in .cache/data-path.json
//	make data-path     # makes that the page's data, and writes the page
//
// # Concurrency
//
// A Stage, a Volume and a Witness are for one goroutine, and Stages have nothing in common: they may be played on side
// by side. A Stage boots its nodes side by side. All stories of a run share a Report.
//
// # Cancellation
//
// A context bounds each step. Close ends all processes.
package kernel
