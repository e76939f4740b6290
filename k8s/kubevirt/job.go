// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A job is what the driver needs of a VirtualMachineInstanceMigration.
type job struct {
	metav1.ObjectMeta // trimmed

	vm        string // name of the instance
	phase     string
	elsewhere bool   // it sends to, or receives from, another cluster or namespace
	kept      *state // the final state, which outlives that of the instance
}

// The phases of a job that has ended.
const (
	jobSucceeded = "Succeeded"
	jobFailed    = "Failed"
)

// final reports whether the job has ended.
func (j *job) final() bool { return j.phase == jobSucceeded || j.phase == jobFailed }

// newJob reads a VirtualMachineInstanceMigration.
func newJob(u *unstructured.Unstructured) *job {
	o := object(u.Object)
	spec := o.at("spec")
	j := &job{
		ObjectMeta: trimmed(u),
		vm:         spec.text("vmiName"),
		phase:      o.at("status").text("phase"),
		elsewhere:  spec["sendTo"] != nil || spec["receive"] != nil,
	}
	// Before its end, and after it where the job was never handed off, it holds another's or nothing.
	if kept := newState(o.at("status", "migrationState")); kept != nil && j.final() && kept.job == string(j.UID) {
		j.kept = kept
	}
	return j
}
