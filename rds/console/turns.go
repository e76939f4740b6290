// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"slices"
	"sync"
)

// turns gives a connection to one command at a time, in the order in which they came. The zero value is
// ready for use.
type turns struct {
	mu    sync.Mutex
	taken bool
	queue []chan struct{} // closed when it is one's turn
}

// acquire waits for the caller's turn, which must be given back. It reports false if ctx or done ended
// the wait.
func (t *turns) acquire(ctx context.Context, done <-chan struct{}) bool {
	t.mu.Lock()
	if !t.taken {
		t.taken = true
		t.mu.Unlock()
		return true
	}
	mine := make(chan struct{})
	t.queue = append(t.queue, mine)
	t.mu.Unlock()
	select {
	case <-mine:
		return true
	case <-ctx.Done():
	case <-done:
	}
	t.leave(mine)
	return false
}

// leave takes a place out of the queue, or passes on the turn that came meanwhile.
func (t *turns) leave(mine chan struct{}) {
	t.mu.Lock()
	i := slices.Index(t.queue, mine)
	if i >= 0 {
		t.queue = slices.Delete(t.queue, i, i+1)
	}
	t.mu.Unlock()
	if i < 0 {
		t.release()
	}
}

// release gives the turn to the next.
func (t *turns) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		t.taken = false
		return
	}
	close(t.queue[0])
	t.queue = t.queue[1:]
}

// waiting returns how many wait.
func (t *turns) waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.queue)
}
