// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package guest is a node that is a machine of its own: a Linux kernel that nobody changed, the programs of the
// driver's image, and the driver's node plugin as a process, whose socket is reached from around the guest. A VM is
// one more guest, whose disk is a device of its node; it migrates to another node as KubeVirt's do.
//
// What guests are made of is fetched by the script beside this file. Package machine runs them, initrd makes their
// file system, agent is their first process, wire and api are how it is spoken to, qmp how QEMU is.
//
// # Concurrency
//
// A Node's methods may be called from many goroutines, those that end it apart.
//
// # Cancellation
//
// A context bounds a wait. A node lives until it is ended; its commands are not taken back.
package guest
