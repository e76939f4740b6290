// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package host is an NVMe/TCP initiator in user space: it connects to a subsystem and reads and
// writes its namespace, and behaves on the wire and after a failure as the Linux kernel's does. It
// stands in for a node's kernel where there is none: in tests, in the demo, and before the kernel is
// asked to connect (Probe) or when it was refused (Admit).
//
// # Reconnect
//
// A connection is lost when its socket fails, when a keep-alive command has no answer for the
// keep-alive timeout, when an I/O or admin command has none for its timeout, or when the target
// breaks the protocol. All queues are then taken down and the controller is resetting, then
// connecting. The first attempt is made after Config.ReconnectDelay, never at once, and so is each
// after a failed one. Commands that were waiting or in flight are issued on the new connection;
// their callers see nothing but time, until their contexts end. The controller is given up, and all
// I/O fails with ErrGone, when Config.CtrlLossTimeout has run out, or at the first refusal with "do
// not retry" if Config.HonorDNR is set.
//
// It differs from the kernel where the kernel wastes time: a connection that the target closes
// during an attempt ends the attempt at once, not after a minute, and Close does not wait a minute
// for a frozen target but five seconds.
//
// After a reconnect the namespace is identified again. If its identifiers are not those that it had
// at first it is another disk, and I/O fails with ErrNoNamespace: nothing that was meant for the one
// is ever written to the other.
//
// # What a write means
//
// A nil error from WriteAt means that the target acknowledged the write once. The target may have
// carried it out more than once: when a connection ends before the answer, nobody can know whether
// the write was done, and it is issued again. The first one may still be waiting within the target
// and land later than the second, and later than any other write that was acknowledged since, by
// this host or by another. No initiator can prevent that, the kernel's included. A target has to:
// it must let nothing of an association that ended reach the disk, or at least not after it
// accepted the next association of that host. Whoever lets two hosts write must fence the one at the
// target before it trusts the other.
//
// An error other than ErrRange says that the outcome is unknown, a *StatusError included: the target
// refused the last issue of the command, which need not have been the first.
//
// # Concurrency
//
// A Controller's methods may be called from many goroutines. One goroutine owns the controller's
// state, with one timer; each queue has one that reads and one that writes. Commands in flight at
// the same time are carried out in any order, also those of one large ReadAt or WriteAt.
//
// # Cancellation
//
// A context ends the wait, not the command: it cannot be taken back from the target. A write whose
// context ended may still be carried out, until the connection that it was issued on has ended at
// the target; it is not issued again. The caller's memory is its own again at once, since commands
// have buffers of their own; those, and the command's place in the queue, are free again when the
// answer came or the connection was taken down.
//
// Close ends everything; it and Done return when no goroutine of the controller runs any more.
package host
