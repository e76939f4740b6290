// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import "sync"

// watchers are the listen commands under way. Each keeps only the last state of each row that it has
// not yet told, so that a slow one costs at most a table.
type watchers struct {
	mu  sync.Mutex
	set map[*watcher]struct{}
}

// A watcher is one listen command.
type watcher struct {
	wake chan struct{} // has room for one

	mu      sync.Mutex
	order   []diskID
	pending map[diskID]disk // the zero disk: the row is gone
}

func newWatchers() *watchers { return &watchers{set: map[*watcher]struct{}{}} }

// add begins a watch, which the returned function ends.
func (ws *watchers) add() (*watcher, func()) {
	w := &watcher{wake: make(chan struct{}, 1), pending: map[diskID]disk{}}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.set[w] = struct{}{}
	return w, func() {
		ws.mu.Lock()
		defer ws.mu.Unlock()
		delete(ws.set, w)
	}
}

// tell notes changes for every watcher.
func (ws *watchers) tell(changes []change) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.set {
		w.tell(changes)
	}
}

func (w *watcher) tell(changes []change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range changes {
		if _, ok := w.pending[c.id()]; !ok {
			w.order = append(w.order, c.id())
		}
		w.pending[c.id()] = c.next
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take returns the changes that were not yet told, in the order in which they began.
func (w *watcher) take() []change {
	w.mu.Lock()
	defer w.mu.Unlock()
	var changes []change
	for _, id := range w.order {
		changes = append(changes, change{old: disk{ID: id}, next: w.pending[id]})
	}
	w.order = nil
	clear(w.pending)
	return changes
}
