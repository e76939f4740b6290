// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Command agent is the first and only process of a guest's user land: it mounts what a system has mounted, loads
// the modules of its initrd in their order, configures the network, and then does what it is asked for over a
// serial port. See package guest/api.
//
// # The network
//
// QEMU's user networking connects whatever address a guest names from the machine that it runs on. So the guest sends
// addresses of 127.0.0.0/8, save 127.0.0.1, out of its network card: a box on a loopback address of the machine is
// reached under that address.
//
// # Held programs
//
// A program that is to be held is, for whoever runs it by its name, the agent itself: it waits, and then is the program.
// So a test can end what ran it at a place that it chooses.
//
// # Concurrency
//
// Each request has a goroutine. Writers, programs and forwarded connections have their own.
package main
