// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package initrd makes the initial file system of a guest out of unpacked Debian packages: the kernel modules that
// are wanted and whatever they need, in the order in which they must be loaded; programs with their shared libraries;
// and the agent as its first process. All of it stays in the guest's memory: there is no other disk.
//
// It is not compressed. QEMU's emulated processor would take longer to unpack it than to copy it.
package initrd
