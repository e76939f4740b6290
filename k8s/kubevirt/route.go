// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"cmp"
	"slices"
)

// A route is which way a migration goes.
type route struct {
	job            *job // nil: gone
	source, target string
}

// goes reports whether the route is known, and leads from one node to another.
func (r route) goes() bool { return r.source != "" && r.target != "" && r.source != r.target }

// routes returns the ways of an instance's migrations, the latest last, as far as they are known: by the
// state that the instance holds, by that which a job keeps, or, before the hand-off, by where the VM runs
// and where the target's pod was put.
func routes(vm *instance, jobs []*job, placed func(uid string) (node string)) []route {
	var all []route
	told := vm.state == nil // a job stands for the instance's state
	for _, j := range inOrder(vm, jobs) {
		r := route{job: j, source: vm.node}
		if s := newAccount(vm, j).state; s != nil {
			r.source, r.target = s.source, s.target
			told = told || s == vm.state
		} else {
			r.target = placed(string(j.UID))
		}
		if r.goes() {
			all = append(all, r)
		}
	}
	if told {
		return all
	}
	// Its job was deleted. Jobs keep what came before, and none but one under way can be later.
	r := route{source: vm.state.source, target: vm.state.target}
	if !r.goes() {
		return all
	}
	if last := len(all) - 1; last >= 0 && !all[last].job.final() {
		return slices.Insert(all, last, r)
	}
	return append(all, r)
}

// inOrder returns the jobs of an instance, the latest last. Jobs name their instance by its name alone, so
// that those of an earlier one may be left over; and those that send or receive do not share a disk.
func inOrder(vm *instance, jobs []*job) []*job {
	var own []*job
	for _, j := range jobs {
		if j.Namespace == vm.Namespace && j.vm == vm.Name && !j.elsewhere && !j.CreationTimestamp.Before(&vm.CreationTimestamp) {
			own = append(own, j)
		}
	}
	slices.SortFunc(own, func(a, b *job) int {
		return cmp.Or(
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			b2i(b.final())-b2i(a.final()), // in the same second: one at a time
			cmp.Compare(a.Name, b.Name),
		)
	})
	return own
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
