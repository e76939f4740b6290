// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package machine runs a guest in QEMU: a kernel and an initrd of package initrd, whose first process is the agent.
//
// The processor is emulated: it takes no rights and no nested virtualisation, and a kernel that nobody changed. There
// is no BIOS setting, and no disk unless an NBD server lends one; the network is QEMU's user networking, in which the
// machine around is a gateway; see the agent's documentation for what is reached through it. A guest can migrate to
// another machine.
//
// # Concurrency
//
// A Machine's methods may be called from many goroutines, PowerOff and Kill apart.
//
// # Cancellation
//
// A context bounds a wait, not the machine's life: whoever calls Start calls Kill. QEMU ends with the process that
// started it at the latest.
package machine
