// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import "testing"

// A turn that comes to somebody who has just stopped waiting goes to the next.
func TestTurnIsPassedOn(t *testing.T) {
	var turns turns
	if !turns.acquire(t.Context(), nil) {
		t.Fatal("a free turn is not given")
	}
	left, next := make(chan struct{}), make(chan struct{})
	turns.queue = append(turns.queue, left, next)
	turns.release()
	turns.leave(left)
	select {
	case <-next:
	default:
		t.Fatal("the turn is lost")
	}
	turns.release()
	if turns.taken || turns.waiting() != 0 {
		t.Errorf("taken %v, %d wait", turns.taken, turns.waiting())
	}
}
