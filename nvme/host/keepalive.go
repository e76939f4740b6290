// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import "time"

// keepAlive times the Keep Alive commands of one association (NVMe Base 2.0, 3.9 "Keep Alive"). As
// in the kernel one is sent half a timeout after the last was answered, and one that has no answer
// for a whole timeout means that the target is lost: a frozen target is noticed 1 to 1.5 timeouts
// after it froze.
type keepAlive struct {
	timeout time.Duration // zero: no keep alive

	next time.Time // when to send; zero while one is in flight
	sent time.Time // of the one in flight; zero: none
}

// start begins a new association.
func (k *keepAlive) start(now time.Time) {
	k.sent, k.next = time.Time{}, time.Time{}
	if k.timeout > 0 {
		k.next = now.Add(k.timeout / 2)
	}
}

// stop ends the association.
func (k *keepAlive) stop() { k.sent, k.next = time.Time{}, time.Time{} }

// deadline is when to ask due and expired again. Zero: never.
func (k *keepAlive) deadline() time.Time {
	if !k.sent.IsZero() {
		return k.sent.Add(k.timeout)
	}
	return k.next
}

// due reports whether a command is to be sent now, and notes that it is.
func (k *keepAlive) due(now time.Time) bool {
	if k.next.IsZero() || now.Before(k.next) {
		return false
	}
	k.next, k.sent = time.Time{}, now
	return true
}

// expired reports whether the command in flight has had its time.
func (k *keepAlive) expired(now time.Time) bool {
	return !k.sent.IsZero() && !now.Before(k.sent.Add(k.timeout))
}

// answered notes the answer to the command in flight.
func (k *keepAlive) answered(now time.Time) { k.start(now) }
