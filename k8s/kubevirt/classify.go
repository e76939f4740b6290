// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"cmp"

	"github.com/rds-csi/rds-csi/actors"
)

// An account is what there is to go by when a migration is judged.
type account struct {
	vm  *instance // nil: it is gone
	job *job      // nil: it is gone, and the instance's own state is what is left of it
	// state is the migration's own, of the instance or as the job keeps it. nil: it was never handed off.
	state *state
	// next is the state that the instance has of another migration; where this one has ended, a later.
	next *state
}

// newAccount sorts out whose state an instance holds.
func newAccount(vm *instance, j *job) account {
	a := account{vm: vm, job: j}
	var held *state
	if vm != nil {
		held = vm.state
	}
	switch {
	case j == nil:
		a.state = held
	case held != nil && held.job == string(j.UID):
		a.state = held
	default:
		a.state, a.next = j.kept, held
	}
	return a
}

// classify says how the migration from source to target stands, by its instance and its job, either of
// which may be gone. It is false where they speak of other nodes, or of nothing.
func classify(vm *instance, j *job, source, target string) (actors.Migration, bool) {
	a := newAccount(vm, j)
	m := actors.Migration{Source: actors.NodeID(source), Target: actors.NodeID(target)}
	switch {
	case j != nil:
		m.UID = string(j.UID)
	case a.state != nil:
		m.UID = a.state.job
	default:
		return actors.Migration{}, false
	}
	if s := a.state; s != nil {
		if s.source != source || s.target != target {
			return actors.Migration{}, false
		}
		m.Started = s.started
		if vm != nil {
			m.Limit = s.limit(vm.memory)
		}
	}
	m.Verdict = a.verdict(source, target)
	if m.Verdict == actors.VerdictFailed {
		m.Reason = a.reason()
	}
	return m, true
}

// verdict says how the migration ended. Uncertain is what contradicts itself, and what leaves open where
// the VM last wrote: it is for the order of detaches to decide.
func (a account) verdict(source, target string) actors.Verdict {
	if a.state == nil {
		return a.unstarted(source)
	}
	switch {
	case a.state.failed || a.state.aborted:
		return a.unsuccessful(source)
	case a.state.completed || a.job != nil && a.job.phase == jobSucceeded:
		return a.successful(source, target)
	case a.vm != nil && !a.vm.final():
		return actors.VerdictOpen // a job that failed already is marked on the instance, too, before long
	case a.vm != nil && a.vm.node == source && !a.handedOver():
		return actors.VerdictFailed // the VM ended where it was
	}
	return actors.VerdictUncertain
}

// handedOver reports whether the target may have run the VM, and written, though the migration is not
// complete. That a VM runs in one place only is then no longer what nodeName says.
func (a account) handedOver() bool { return a.state.ready || a.state.postCopy }

// successful judges a migration that is said to be complete: the VM must be where it went, or have gone
// on from there.
func (a account) successful(source, target string) actors.Verdict {
	switch {
	case a.vm == nil: // and the job kept it so
		return actors.VerdictSucceeded
	case a.next == nil && a.vm.node == target:
		return actors.VerdictSucceeded
	case a.next != nil && a.next.source == target:
		return actors.VerdictSucceeded
	case a.next != nil && a.vm.node != source && a.vm.node != "":
		return actors.VerdictSucceeded // two or more migrations ago
	}
	return actors.VerdictUncertain
}

// unsuccessful judges a migration that failed or was aborted: the VM must be where it was.
func (a account) unsuccessful(source string) actors.Verdict {
	switch {
	case a.next != nil && a.next.source == source: // it has started from there again
		return actors.VerdictFailed
	case a.handedOver():
		return actors.VerdictUncertain
	case a.vm == nil || a.vm.node == source:
		return actors.VerdictFailed
	}
	return actors.VerdictUncertain
}

// unstarted judges a migration that was never handed off, so that the target cannot have run the VM.
func (a account) unstarted(source string) actors.Verdict {
	switch {
	case a.job.phase == jobSucceeded && a.vm != nil && a.vm.node != source && a.vm.node != "":
		return actors.VerdictSucceeded // of a KubeVirt that keeps no copy, and the instance has migrated again
	case a.job.phase == jobSucceeded, a.vm == nil:
		return actors.VerdictUncertain
	case a.job.phase != jobFailed && !a.vm.final():
		return actors.VerdictOpen
	case a.vm.node == source, a.next != nil && a.next.source == source:
		return actors.VerdictFailed
	}
	return actors.VerdictUncertain
}

// reason is why a migration failed, as far as KubeVirt says.
func (a account) reason() string {
	switch {
	case a.state == nil && a.vm.final(), a.state != nil && !a.state.failed && !a.state.aborted:
		return "the VM ended"
	case a.state == nil:
		return "it ended before it was handed to the nodes"
	case a.state.aborted:
		return cmp.Or(a.state.reason, "it was cancelled")
	}
	return a.state.reason
}
