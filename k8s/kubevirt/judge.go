// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"fmt"

	"github.com/rds-csi/rds-csi/actors"
)

// A claimant is what the pods of a volume say who asks for it on a second node.
type claimant struct {
	namespace   string
	vm, uid     string // the instance
	job, jobUID string // job may be "": then its UID must do
	pod         string // the target's
}

// judge says on whose behalf target asks for a volume that holder has, by the pods that use it. It is
// ErrPrecondition where that is no live migration.
func judge(all []user, holder, target string) (claimant, error) {
	var c claimant
	for _, u := range all {
		if u.finished || u.node != holder && u.node != target {
			continue
		}
		if u.launcher == nil {
			return claimant{}, refusal("pod %s/%s on node %s uses it and is no VM's; it must end first", u.Namespace, u.Name, u.node)
		}
		vm, uid := u.instance()
		if c.uid == "" {
			c.namespace, c.vm, c.uid = u.Namespace, vm, uid
		}
		if c.uid != uid {
			return claimant{}, refusal("VMs %s/%s (%s) and %s (%s) both use it; stop one of them, or wait until it has stopped",
				c.namespace, c.vm, c.uid, vm, uid)
		}
		if u.node != target || u.DeletionTimestamp != nil {
			continue
		}
		jobUID, job := u.target()
		switch {
		case jobUID == "":
			return claimant{}, refusal("pod %s/%s on node %s starts VM %s and is no live migration's target; it waits until node %s is detached",
				u.Namespace, u.Name, u.node, vm, holder)
		case c.jobUID != "" && c.jobUID != jobUID:
			return claimant{}, refusal("two live migrations of VM %s/%s have pods on node %s, %s and %s; one must be gone first",
				c.namespace, c.vm, target, c.pod, u.Name)
		}
		c.job, c.jobUID, c.pod = job, jobUID, u.Name
	}
	if c.jobUID == "" {
		return claimant{}, refusal("no pod on node %s uses it, or it is being deleted", target)
	}
	return c, nil
}

// confirm says whether the claimant's job and instance bear it out. Either is nil where it does not exist.
func (c claimant) confirm(vm *instance, j *job, holder string) error {
	switch {
	case j == nil:
		return refusal("the migration %s that made pod %s/%s is gone", c.jobUID, c.namespace, c.pod)
	case j.vm != c.vm:
		return refusal("pod %s/%s is VM %s's, and its migration %s is VM %.63q's", c.namespace, c.pod, c.vm, j.Name, j.vm)
	case j.elsewhere:
		return refusal("migration %s/%s of VM %s sends to or receives from elsewhere, which copies disks and shares none", j.Namespace, j.Name, c.vm)
	case j.final():
		return refusal("migration %s/%s of VM %s has ended (%s)", j.Namespace, j.Name, c.vm, j.phase)
	case j.DeletionTimestamp != nil:
		return refusal("migration %s/%s of VM %s is cancelled", j.Namespace, j.Name, c.vm)
	case vm == nil || string(vm.UID) != c.uid:
		return refusal("VM %s/%s (%s) is gone", c.namespace, c.vm, c.uid)
	case vm.final() || vm.DeletionTimestamp != nil:
		return refusal("VM %s/%s is ending and does not migrate", c.namespace, c.vm)
	case vm.node != holder:
		return refusal("VM %s/%s runs on node %.63q, so that it does not migrate from node %s, which has the volume", c.namespace, c.vm, vm.node, holder)
	}
	return nil
}

func refusal(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, actors.ErrPrecondition)...)
}
