// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package sim is a simulated MikroTik ROSE Data Server on real sockets: the RouterOS API, plain and
// over TLS, the console over SSH, disks that are sparse files in a directory, and their export over
// NVMe/TCP.
//
// There is one model of the box, the table of its disks, and transports around it. The model is
// pure: a command makes a new table of an old one (disk.go, file.go, table.go). The machine owns the
// table; it turns the difference of two tables into work on files, exports and the saved
// configuration, and publishes a table only when that work is done (machine.go). What is served to
// a reader is always a whole published table.
//
// A boot is all that runs between power-on and power-off. A reboot ends one boot and begins the next
// on the same addresses, from the saved configuration. The journal and the counts outlive boots: they
// are the tests' notebook, not the box's.
//
// What nobody has seen a real box do is a field of [Switches]. The texts of most failures are
// guesses too: a client should decide by reading back, not by the text.
//
// What a person sets, rights or wrongly, are the account's policies, the package rose-storage, the
// certificate and the pool: by [Config], and while the box runs by [Sim.Change]. What RouterOS says of a
// lack of rights is known, of a lack of the package it is guessed.
//
// Not simulated are RAID and its repair, other types of disk than file, the mounting of what a guest
// wrote, the change of users by command, the policy sensitive, and NVMe in-band authentication: a nvme-tcp-server-password is kept
// and shown, and asked of nobody.
//
// # Concurrency
//
// All methods of [Sim] may be called from any goroutine. Commands are served [Config.Concurrency] at
// a time, in the order in which they came. The changes that one connection asks for take effect in
// the order in which it sent them.
//
// # Cancellation
//
// The context of [Start] bounds the start alone; [Sim.Close] ends the box and waits for every
// goroutine. A change that was received is carried out although its connection is gone; a
// power-off loses it.
package sim
