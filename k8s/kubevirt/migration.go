// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/rds-csi/rds-csi/actors"
)

// Migration says how the live migration from source to target stands that has a volume on both; it is that
// method of actors.Orchestrator. Of several it is the latest. ErrNotFound: nobody migrates it, as where
// there is no KubeVirt. ErrUnavailable: that cannot be told.
func (m *Migrations) Migration(ctx context.Context, id actors.VolumeID, source, target actors.NodeID) (actors.Migration, error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	w := m.watch.Load()
	if w == nil {
		switch here, err := m.present(ctx); {
		case err != nil:
			return actors.Migration{}, err
		case !here:
			return actors.Migration{}, fmt.Errorf("no KubeVirt migrates volume %s: %w", id, actors.ErrNotFound)
		}
	}
	found, err := m.find(ctx, w, id, string(source), string(target))
	if err != nil && w != nil && !errors.Is(err, actors.ErrNotFound) { // it may have gone since
		if here, lost := m.present(ctx); lost == nil && !here {
			err = actors.ErrNotFound
		}
	}
	if err != nil {
		return actors.Migration{}, fmt.Errorf("ask KubeVirt for the migration of volume %s from node %s to node %s: %w", id, source, target, err)
	}
	return found, nil
}

// find looks for a migration: by the caches, or live where they show none.
func (m *Migrations) find(ctx context.Context, w *watch, id actors.VolumeID, source, target string) (actors.Migration, error) {
	cl, err := m.claim(ctx, id)
	if err != nil {
		return actors.Migration{}, err
	}
	if w != nil && w.synced() {
		found, err := m.ask(ctx, cl.namespace, w.candidates(cl, source, target), source, target)
		if !errors.Is(err, actors.ErrNotFound) {
			return found, err
		}
	}
	candidates, err := m.candidates(ctx, w, cl, source, target)
	if err != nil {
		return actors.Migration{}, err
	}
	return m.ask(ctx, cl.namespace, candidates, source, target)
}

// A candidate is a migration that may be the one that is asked for.
type candidate struct {
	vm  *instance // as it was when the caches or the list were made
	job *job      // nil: gone
}

// ask reads candidates until one is the migration from source to target.
func (m *Migrations) ask(ctx context.Context, namespace string, candidates []candidate, source, target string) (actors.Migration, error) {
	for _, c := range candidates {
		// The job comes first: what it keeps, the instance had before.
		var j *job
		if c.job != nil {
			u, err := m.get(ctx, jobs, namespace, c.job.Name)
			if err != nil {
				return actors.Migration{}, err
			}
			if u != nil && u.GetUID() == c.job.UID {
				j = newJob(u)
			}
		}
		vm, err := m.readInstance(ctx, namespace, c.vm.Name)
		if err != nil {
			return actors.Migration{}, err
		}
		if vm != nil && vm.UID != c.vm.UID {
			vm = nil // the VM has been started again
		}
		if found, ok := classify(vm, j, source, target); ok {
			return found, nil
		}
	}
	return actors.Migration{}, actors.ErrNotFound
}

// candidates returns the latest migrations from source to target of the instances that use a claim. The
// pods that use it lead to those too that say nothing of it, as of a disk that is plugged in just now.
func (w *watch) candidates(cl claim, source, target string) []candidate {
	vms := cached[*instance](w.instances, byClaim, cl.String())
	for _, u := range users(cached[*pod](w.pods, byClaim, cl.String()), w.pod) {
		if u.launcher == nil || u.node != source && u.node != target {
			continue
		}
		name, _ := u.instance()
		if vm := w.instance(cl.namespace, name); vm != nil && !slices.Contains(vms, vm) {
			vms = append(vms, vm)
		}
	}
	var all []candidate
	for _, vm := range vms {
		all = append(all, latest(vm, w.migrations(vm.Namespace, vm.Name), w.placed(vm), source, target)...)
	}
	return all
}

// candidates is the same by live reads. Where a target was put that was not handed off, only the cache
// knows.
func (m *Migrations) candidates(ctx context.Context, w *watch, cl claim, source, target string) ([]candidate, error) {
	vms, err := m.listInstances(ctx, cl.namespace)
	if err != nil {
		return nil, err
	}
	vms = slices.DeleteFunc(vms, func(i *instance) bool { return !slices.Contains(i.claims, cl.name) })
	if len(vms) == 0 {
		return nil, nil
	}
	migrations, err := m.listJobs(ctx, cl.namespace)
	if err != nil {
		return nil, err
	}
	var all []candidate
	for _, vm := range vms {
		placed := func(string) string { return "" }
		if w != nil {
			placed = w.placed(vm)
		}
		all = append(all, latest(vm, migrations, placed, source, target)...)
	}
	return all, nil
}

// latest returns the latest migration of an instance from source to target, if there is one.
func latest(vm *instance, migrations []*job, placed func(string) string, source, target string) []candidate {
	all := routes(vm, migrations, placed)
	for _, r := range slices.Backward(all) {
		if r.source == source && r.target == target {
			return []candidate{{vm: vm, job: r.job}}
		}
	}
	return nil
}
