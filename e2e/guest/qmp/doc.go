// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package qmp is a client of the QEMU Machine Protocol (QEMU, interop/qmp-spec), by which a machine is looked into
// and told what to do.
//
// # Concurrency
//
// A Client's methods may be called from many goroutines; it has one that reads.
//
// # Cancellation
//
// A context bounds a wait. A command whose caller has gone is carried out all the same.
package qmp
