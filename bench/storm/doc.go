// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Command storm measures how the controller bears an attach storm: it runs the simulated box and
// the controller as processes of their own on the loopback interface, lets the storm of package
// workload loose on the controller's socket, does the same to a driver that answers at once, and
// reports both.
//
// It exits with 1 when an answer was wrong or a process failed, and with 2 when it was misused. No
// figure makes it fail.
//
// # Cancellation
//
// On SIGINT, SIGTERM, a failure, or when its time is up it ends the processes that it started, by
// their handles, and removes their directory. What they printed is kept beside the report.
package main
