// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package nvme is the node's side of a volume: it connects Linux to an NVMe/TCP subsystem, finds the
// block device, and formats, mounts and publishes it. It uses neither nvme-cli nor udev, only
// /dev/nvme-fabrics, sysfs, procfs and the filesystems' own tools.
//
// # Names
//
// A device's name says nothing: after a lost connection another volume may have it. A volume is
// found by its subsystem's NQN, and a device is compared by its number.
//
// # Data
//
// A device is formatted only when two direct reads, apart in time and each with the controller
// live, show nothing but zeros at its start and its end, or when it shows what an mkfs has left of them that the caller
// knows to have been begun and not ended. A connection is cut only while nothing
// mounts or holds its device. What cannot be told counts as in use. A connection is reset only for a
// new size, and only where I/O waits for it and the target would take it back.
//
// # Concurrency
//
// All methods may be called from many goroutines. Connections of one subsystem that are asked for at
// the same time become one; so do disconnections. There is no lock for what different subsystems
// do, save the kernel's own.
//
// # Cancellation
//
// The kernel cannot be interrupted while it connects (up to 62 s if the target is frozen), deletes
// a controller (60 s), or unmounts. Such a call runs in a goroutine of its own, and goes on when the
// context of its callers ends: they get actors.ErrUnresolved, and a later call joins it. A connect
// that was left so is a connection: it is listed, and a disconnect waits for it.
package nvme
