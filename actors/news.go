// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import "sync"

// A news is what was seen of the world and a volume's loop has not looked at yet. It is level-triggered:
// the latest word replaces the ones before.
type news struct {
	wake chan struct{} // room for one: there is something to take

	mu       sync.Mutex
	row      bool       // the row is to be read again
	suspects *Suspected // nil: nothing new
	outcome  *Outcome   // nil: nothing new
}

// observed says that the row may have changed.
func (n *news) observed() { n.put(func() { n.row = true }) }

// put changes what is to be looked at, and wakes the loop.
func (n *news) put(change func()) {
	n.mu.Lock()
	change()
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// take returns the events that were not looked at yet.
func (n *news) take() (evs []Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.row {
		evs = append(evs, Observed{})
	}
	if n.outcome != nil {
		evs = append(evs, *n.outcome)
	}
	if n.suspects != nil {
		evs = append(evs, *n.suspects)
	}
	n.row, n.outcome, n.suspects = false, nil, nil
	return evs
}
