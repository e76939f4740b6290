// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"time"
)

// reconnect decides when to try again and when to give up, as nvmf_should_reconnect does in the
// kernel: attempts are counted, so that a loss timeout is rounded up to a multiple of the delay, and
// the time that a stalled attempt takes comes on top.
type reconnect struct {
	delay    time.Duration
	max      int  // attempts; negative: no limit
	honorDNR bool // a refusal with "do not retry" ends it (Linux from 6.10)

	attempts int       // begun since the connection was lost
	next     time.Time // of the next attempt; zero while live and while an attempt runs
}

// newReconnect takes a negative loss for "never give up".
func newReconnect(delay, loss time.Duration, honorDNR bool) reconnect {
	r := reconnect{delay: delay, max: -1, honorDNR: honorDNR}
	if loss >= 0 {
		r.max = int((loss + delay - 1) / delay)
	}
	return r
}

// lost schedules the first attempt. It is never immediate: a target that is restarted on purpose
// relies on the hosts staying away for the delay.
func (r *reconnect) lost(now time.Time) {
	r.attempts = 0
	r.next = now.Add(r.delay)
}

// deadline is when to call begin. Zero: never.
func (r *reconnect) deadline() time.Time { return r.next }

// begin reports whether the attempt is due, and counts it.
func (r *reconnect) begin(now time.Time) bool {
	if r.next.IsZero() || now.Before(r.next) {
		return false
	}
	r.next = time.Time{}
	r.attempts++
	return true
}

// failed schedules the next attempt, or returns the ErrGone that ends the controller.
func (r *reconnect) failed(now time.Time, err error) error {
	var refusal *StatusError
	if r.honorDNR && errors.As(err, &refusal) && refusal.DNR {
		return fmt.Errorf("%w: reconnect: %w", ErrGone, err)
	}
	if r.max >= 0 && r.attempts >= r.max {
		return fmt.Errorf("%w: reconnect: %d attempts, the last: %w", ErrGone, r.attempts, err)
	}
	r.next = now.Add(r.delay)
	return nil
}

// live ends the attempts.
func (r *reconnect) live() { r.attempts, r.next = 0, time.Time{} }
