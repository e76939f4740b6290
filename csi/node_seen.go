// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"errors"
	"slices"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

// The reasons under which a node reports trouble.
const (
	ReasonMountFailure      = "MountFailure"
	ReasonRecoveryFailed    = "RecoveryFailed"
	ReasonStaleMount        = "StaleMountDetected"
	ReasonConnectionFailure = "ConnectionFailure"
)

const (
	// patience is how long the kernel may reconnect before people are told, and the target is asked: a box that
	// restarts, or an export that goes off and on, is no trouble.
	patience = 30 * time.Second
	// tellAgain is after how long trouble that lasts is told again. Kubernetes keeps an event for an hour.
	tellAgain = time.Hour
	// The pauses between two attempts to mend a volume.
	firstRepairPause = 10 * time.Second
	maxRepairPause   = 5 * time.Minute
)

// seen is what is remembered of one volume between two looks.
type seen struct {
	finding finding
	since   time.Time // of the condition
	told    time.Time // when it was last reported; zero: not yet
	free    time.Time // since when the volume could be mended; zero: it cannot

	failures  int       // attempts to mend it, one after another
	next      time.Time // before then it is not mended
	complaint time.Time // when a failed repair was last reported

	hidden *seen // what was remembered when the volume could not be seen any more; nil: it can, or never was
}

// A report is what there is to tell of a volume.
type report struct {
	volume    actors.VolumeID
	finding   finding
	changed   bool     // the condition is another
	vanished  bool     // its connection was found given up
	deadMount bool     // a mount was found whose device is gone or another
	reasons   []string // under which people are told
}

// observe returns what is remembered of a volume after a look, and what there is to tell.
func (s seen) observe(id actors.VolumeID, f finding, now time.Time) (seen, []report) {
	before := s.finding
	r := report{volume: id, finding: f}
	switch {
	case before.condition == f.condition:
	case s.hidden != nil && s.hidden.finding.condition == f.condition:
		// As far as can be told it was so all the while.
		r.changed, s = true, *s.hidden
	default:
		r.changed = before.condition != "" || f.condition != Healthy
		r.vanished = f.condition == Lost
		r.deadMount = f.deadMount && !before.deadMount
		s = s.turned(f, now)
	}
	s.finding = f
	switch {
	case !f.repairable && !f.doubtful:
		s.free = time.Time{}
	case s.free.IsZero():
		s.free = now
	}
	if r.reasons = reasons(f); len(r.reasons) > 0 && s.tells(now) {
		s.told = now
		r.finding.message = dated(f.message, s.since)
	} else {
		r.reasons = nil
	}
	if !r.changed && len(r.reasons) == 0 {
		return s, nil
	}
	return s, []report{r}
}

// turned returns what is remembered of a volume that has come to be in another condition.
func (s seen) turned(f finding, now time.Time) seen {
	next := seen{since: now}
	before := s.finding
	if f.condition == Unknown && before.condition != "" {
		next.hidden = &s
	}
	if ill(before.condition) && ill(f.condition) { // as when a repair connects and gets no further
		next.free, next.failures, next.next, next.complaint = s.free, s.failures, s.next, s.complaint
		if before.deadMount && f.deadMount {
			next.told = s.told // of the same mount
		}
	}
	return next
}

func ill(c Condition) bool { return c == Lost || c == Stale }

// tells reports whether it is time to tell people.
func (s seen) tells(now time.Time) bool {
	if s.told.IsZero() {
		return s.finding.condition != Waiting || now.Sub(s.since) >= patience
	}
	return now.Sub(s.told) >= tellAgain
}

// reasons returns under which reasons people are told of a finding.
func reasons(f finding) []string {
	switch {
	case f.condition == Lost && f.deadMount:
		return []string{ReasonConnectionFailure, ReasonStaleMount}
	case f.condition == Lost, f.condition == Waiting:
		return []string{ReasonConnectionFailure}
	case f.condition == Stale:
		return []string{ReasonStaleMount}
	case f.condition == Failed, f.condition == Shrunk:
		return []string{ReasonMountFailure}
	}
	return nil
}

// due returns the volumes that may be mended, by name. A volume that has just become free is left to the kubelet
// for a while, which may be about to unstage it, and one that waits is left to the kernel.
func (w *watch) due(now time.Time, settle time.Duration) []actors.VolumeID {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ids []actors.VolumeID
	for id, s := range w.seen {
		left := settle
		if s.finding.doubtful {
			left = patience
		}
		if !s.free.IsZero() && now.Sub(s.free) >= left && !now.Before(s.next) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// attempted remembers the outcome of an attempt to mend a volume, and reports whether people are to be told of it. A host
// that is refused is soon asked about again: how long that goes on is what matters.
func (w *watch) attempted(id actors.VolumeID, err error, now time.Time) (complain bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.seen[id]
	if !ok {
		return false
	}
	switch {
	case err == nil:
		s.failures, s.free = 0, time.Time{}
	case errors.Is(err, errStands) && errors.Is(err, nvme.ErrHostRefused):
		s.next = now.Add(firstRepairPause)
	default:
		s.next = now.Add(min(firstRepairPause<<min(s.failures, 10), maxRepairPause))
		s.failures++
		if complain = s.complaint.IsZero() || now.Sub(s.complaint) >= tellAgain; complain {
			s.complaint = now
		}
	}
	w.seen[id] = s
	return complain
}
