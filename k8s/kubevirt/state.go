// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import "time"

// A state is status.migrationState, of an instance or as a job keeps it.
type state struct {
	job            string // UID
	source, target string // nodes
	targetPod      string
	started, ended time.Time
	ready          bool // the VM was seen to run on the target
	completed      bool
	failed         bool
	aborted        bool // that was asked for, and done
	postCopy       bool // the target writes before the migration is complete
	reason         string
	perGiB         int64 // seconds, 0: no limit, or not readable
	grace          time.Duration
	disruptive     bool // a migration that exceeds its time is pushed on before it is aborted
}

// newState reads a migrationState. It is nil where the instance was never handed off.
func newState(o object) *state {
	if o.text("migrationUid") == "" {
		return nil
	}
	s := &state{
		job:       o.text("migrationUid"),
		source:    o.text("sourceNode"),
		target:    o.text("targetNode"),
		targetPod: o.text("targetPod"),
		started:   o.when("startTimestamp"),
		ended:     o.when("endTimestamp"),
		ready:     !o.when("targetNodeDomainReadyTimestamp").IsZero(),
		completed: o.is("completed"),
		failed:    o.is("failed"),
		aborted:   o.text("abortStatus") == "Succeeded",
		postCopy:  o.text("mode") == "PostCopy",
		reason:    clip(o.text("failureReason")),
	}
	s.configure(o.at("migrationConfiguration"))
	return s
}

// The bounds of what is taken seriously of a configuration, in seconds.
const (
	maxPerGiB = 1 << 20
	maxGrace  = 1 << 20
)

// defaultGrace is KubeVirt's progressTimeout where none is set.
const defaultGrace = 150 * time.Second

func (s *state) configure(o object) {
	if n, ok := o.number("completionTimeoutPerGiB"); ok && n > 0 && n <= maxPerGiB {
		s.perGiB = n
	}
	s.grace = defaultGrace
	if n, ok := o.number("progressTimeout"); ok && n > 0 && n <= maxGrace {
		s.grace = time.Duration(n) * time.Second
	}
	disruptive, set := o.flag("allowWorkloadDisruption")
	if !set {
		disruptive = o.is("allowPostCopy") // virt-handler reads it so
	}
	s.disruptive = disruptive
}

// maxLimit bounds a limit.
const maxLimit = 30 * 24 * time.Hour

// limit returns how long after its start a migration ends by KubeVirt's own rules, and 0 where that is
// not known. virt-launcher aborts it after completionTimeoutPerGiB × memory. Where workloads may be
// disrupted it pauses the guest then and allows the same time again; or it goes over to post-copy, which
// it never aborts, and which is given as long. The grace leaves it time to abort and to say so, so that
// its verdict comes first. Local disks that it copies besides are left out, for their size shows nowhere.
func (s *state) limit(memory int64) time.Duration {
	if s.perGiB == 0 || memory == 0 {
		return 0
	}
	seconds := s.perGiB * memory // at most 1<<40
	if s.disruptive {
		seconds *= 2
	}
	if seconds > int64(maxLimit/time.Second) {
		return maxLimit
	}
	return time.Duration(seconds)*time.Second + s.grace
}
