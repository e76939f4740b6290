// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/rds-csi/rds-csi/actors"
)

// A teller tells how migrations stand, by what the caches show. It compares states, not changes: whatever
// it missed shows in what it looks at next.
type teller struct {
	watch   *watch
	claims  Claims
	observe func(actors.VolumeID, actors.Migration)

	told map[string]map[actors.VolumeID]actors.Migration // by namespace/name of the instance; run's alone

	mu    sync.Mutex
	nodes map[string]map[string]string // where targets were put, whose pods may be gone: by instance, by UID of the job
}

func newTeller(w *watch, claims Claims, observe func(actors.VolumeID, actors.Migration)) *teller {
	return &teller{
		watch: w, claims: claims, observe: observe,
		told:  make(map[string]map[actors.VolumeID]actors.Migration),
		nodes: make(map[string]map[string]string),
	}
}

// recall returns where the target of an instance's job was put.
func (t *teller) recall(key, uid string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.nodes[key][uid]
}

// note remembers it.
func (t *teller) note(key, uid, node string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.nodes[key] == nil {
		t.nodes[key] = make(map[string]string)
	}
	t.nodes[key][uid] = node
}

// forget forgets the targets of an instance whose jobs and pods are gone.
func (t *teller) forget(key string, migrations []*job) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.nodes[key], func(uid, _ string) bool {
		return len(cached[*pod](t.watch.pods, byJob, uid)) == 0 &&
			!slices.ContainsFunc(migrations, func(j *job) bool { return string(j.UID) == uid })
	})
	if len(t.nodes[key]) == 0 {
		delete(t.nodes, key)
	}
}

// pod takes note of a pod that was seen. That of a target matters to its instance; those that stand in for
// hotplugged disks go where their launcher is.
func (t *teller) pod(object any) {
	p, ok := object.(*pod)
	if !ok || p.job == "" || p.node == "" || !p.launcher() {
		return
	}
	key := p.Namespace + "/" + p.owner.Name
	t.note(key, p.job, p.node)
	t.watch.changed.Add(key)
}

// instance takes note of an instance that was seen.
func (t *teller) instance(object any) {
	if i, ok := object.(*instance); ok {
		t.watch.changed.Add(i.Namespace + "/" + i.Name)
	}
}

// job takes note of a job that was seen.
func (t *teller) job(object any) {
	if j, ok := object.(*job); ok {
		t.watch.changed.Add(j.Namespace + "/" + j.vm)
	}
}

// run tells what changes until the watch ends.
func (t *teller) run() {
	for {
		key, over := t.watch.changed.Get()
		if over {
			return
		}
		t.tell(key)
		t.watch.changed.Done(key)
	}
}

// tell tells how the latest migration of an instance stands to those of its volumes that do not know.
func (t *teller) tell(key string) {
	namespace, name, _ := strings.Cut(key, "/")
	migrations := t.watch.migrations(namespace, name)
	t.forget(key, migrations)
	vm := t.watch.instance(namespace, name)
	if vm == nil {
		delete(t.told, key)
		return
	}
	all := routes(vm, migrations, t.watch.placed(vm))
	if len(all) == 0 {
		return
	}
	r := all[len(all)-1]
	m, ok := classify(vm, r.job, r.source, r.target)
	if !ok {
		return
	}
	before, now := t.told[key], make(map[actors.VolumeID]actors.Migration)
	for _, name := range vm.claims {
		for _, id := range t.claims.Volumes(namespace, name) {
			if _, twice := now[id]; twice {
				continue
			}
			now[id] = m
			if known, ok := before[id]; !ok || known != m {
				t.observe(id, m)
			}
		}
	}
	t.told[key] = now
}
