// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

const (
	defaultWatchInterval = 5 * time.Second
	// lookTimeout bounds a look. None takes a second, unless the kernel blocks where it should not.
	lookTimeout = 5 * time.Second
	// repairers is how many volumes are repaired at a time.
	repairers = 4
)

// NodeHooks are told what Watch sees. They must not block, and nil ones are not called.
type NodeHooks struct {
	// Conditions gets the number of volumes in each condition after every look.
	Conditions func(map[Condition]int)
	// Vanished is called when a connection in use was found to be given up.
	Vanished func()
	// DeadMount is called when a mount or a device node was found whose device is gone or another.
	DeadMount func()
	// Recovered is called after each attempt to mount a volume again, with nil if that succeeded.
	Recovered func(error)
	// Report tells people of trouble with a volume, under one of the Reason constants.
	Report func(reason string, id actors.VolumeID, text string)
}

func (h NodeHooks) filled() NodeHooks {
	if h.Conditions == nil {
		h.Conditions = func(map[Condition]int) {}
	}
	if h.Vanished == nil {
		h.Vanished = func() {}
	}
	if h.DeadMount == nil {
		h.DeadMount = func() {}
	}
	if h.Recovered == nil {
		h.Recovered = func(error) {}
	}
	if h.Report == nil {
		h.Report = func(string, actors.VolumeID, string) {}
	}
	return h
}

// watch is what Watch remembers of the volumes it looks after.
type watch struct {
	mu   sync.Mutex
	seen map[actors.VolumeID]seen
}

// Watch looks after the volumes of this node until ctx ends: at once and then at intervals it compares what was
// recorded with what the kernel shows, tells of what is wrong, mounts again what no one uses, and gives up what
// is not this node's any more. A look asks neither the box nor the API server, and waits for no device. It is
// called once.
func (n *Node) Watch(ctx context.Context) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	jobs := make(chan actors.VolumeID)
	for range repairers {
		workers.Go(func() { n.mendAll(ctx, jobs) })
	}
	tick := time.NewTicker(n.interval)
	defer tick.Stop()
	for {
		n.look(ctx)
		for _, id := range n.watch.due(time.Now(), n.interval) {
			select {
			case jobs <- id:
			default: // all are busy; its time comes again
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look judges every volume once.
func (n *Node) look(ctx context.Context) {
	recs, findings, err := n.recorded()
	if err != nil {
		n.log.ErrorContext(ctx, "the staged volumes cannot be looked after", "error", err)
		return
	}
	wanted := make(map[actors.VolumeID][]string, len(recs))
	for id, rec := range recs {
		wanted[id] = rec.paths()
	}
	sights := n.survey(ctx, wanted)
	if ctx.Err() != nil {
		return
	}
	for id, rec := range recs {
		f := judge(rec, sights[id], n.boot)
		if f.condition != Healthy && f.condition != Unknown && f.condition != n.watch.condition(id) {
			var ok bool
			if f, ok = n.confirm(ctx, id); !ok {
				continue // a request is about to change it
			}
		}
		findings[id] = f
	}
	n.note(ctx, findings)
}

// recorded returns the records of all volumes, and of those that cannot be read the finding.
func (n *Node) recorded() (map[actors.VolumeID]*record, map[actors.VolumeID]finding, error) {
	ids, err := n.records.list()
	if err != nil {
		return nil, nil, err
	}
	recs, findings := make(map[actors.VolumeID]*record, len(ids)), make(map[actors.VolumeID]finding, len(ids))
	for _, id := range ids {
		rec, err := n.records.load(id)
		switch {
		case err != nil:
			findings[id] = found(Unknown, "Unknown", "what was staged cannot be told: %v", err)
		case rec != nil:
			recs[id] = rec
		}
	}
	return recs, findings, nil
}

// survey looks at volumes within the time that a look may take. Where nothing was seen, each sight says why.
func (n *Node) survey(ctx context.Context, wanted map[actors.VolumeID][]string) map[actors.VolumeID]nvme.Sight {
	ctx, cancel := context.WithTimeoutCause(ctx, lookTimeout, errors.New("the kernel does not answer"))
	defer cancel()
	sights, err := n.surveyor.Survey(ctx, wanted)
	if err == nil {
		return sights
	}
	sights = make(map[actors.VolumeID]nvme.Sight, len(wanted))
	for id := range wanted {
		sights[id] = nvme.Sight{Err: err}
	}
	return sights
}

// examine looks at one volume.
func (n *Node) examine(ctx context.Context, rec *record) (nvme.Sight, finding) {
	s := n.survey(ctx, map[actors.VolumeID][]string{rec.Volume: rec.paths()})[rec.Volume]
	return s, judge(rec, s, n.boot)
}

// confirm looks again at a volume that was not well, while no request changes it. It is false where one does.
func (n *Node) confirm(ctx context.Context, id actors.VolumeID) (f finding, ok bool) {
	n.flights.aside(ctx, id, func(ctx context.Context) {
		rec, err := n.records.load(id)
		if err != nil || rec == nil {
			return
		}
		_, f = n.examine(ctx, rec)
		ok = ctx.Err() == nil
	})
	return f, ok
}

// note remembers what was found, and tells of it.
func (n *Node) note(ctx context.Context, findings map[actors.VolumeID]finding) {
	counts, news := n.watch.update(findings, n.records.has, time.Now())
	n.hooks.Conditions(counts)
	for _, r := range news {
		n.tell(ctx, r)
	}
}

// update remembers what was found. A volume that was not looked at is kept while there is one.
func (w *watch) update(findings map[actors.VolumeID]finding, exists func(actors.VolumeID) bool, now time.Time) (map[Condition]int, []report) {
	var gone []actors.VolumeID
	for _, id := range w.volumes() {
		if _, ok := findings[id]; !ok && !exists(id) {
			gone = append(gone, id)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil {
		w.seen = make(map[actors.VolumeID]seen)
	}
	for _, id := range gone {
		delete(w.seen, id)
	}
	var news []report
	for _, id := range slices.Sorted(maps.Keys(findings)) {
		s, told := w.seen[id].observe(id, findings[id], now)
		w.seen[id] = s
		news = append(news, told...)
	}
	counts := make(map[Condition]int)
	for _, s := range w.seen {
		counts[s.finding.condition]++
	}
	return counts, news
}

func (w *watch) volumes() []actors.VolumeID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.seen))
}

// tell hands on what was seen of one volume.
func (n *Node) tell(ctx context.Context, r report) {
	if r.changed {
		level := slog.LevelWarn
		if c := r.finding.condition; c == Healthy || c == Unstaged {
			level = slog.LevelInfo
		}
		n.log.Log(ctx, level, "a volume's condition has changed", "volume-id", string(r.volume),
			"condition", string(r.finding.condition), "message", r.finding.message)
	}
	if r.vanished {
		n.hooks.Vanished()
	}
	if r.deadMount {
		n.hooks.DeadMount()
	}
	for _, reason := range r.reasons {
		n.hooks.Report(reason, r.volume, r.finding.message)
	}
}

// condition returns the condition that a volume was in, "" where it was not looked at.
func (w *watch) condition(id actors.VolumeID) Condition {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[id].finding.condition
}

// dated adds since when a volume is as it is, if that is known.
func (w *watch) dated(id actors.VolumeID, f finding) finding {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s, ok := w.seen[id]; ok && s.finding.condition == f.condition && f.condition != Healthy {
		f.message = dated(f.message, s.since)
	}
	return f
}

func dated(message string, since time.Time) string {
	return fmt.Sprintf("since %s: %s", since.UTC().Format(time.RFC3339), message)
}
