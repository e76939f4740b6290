// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/dynamicinformer"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// The indices of a watch's caches.
const (
	byClaim = "claim" // pods and instances: namespace/name of the claims they use
	byJob   = "job"   // pods: UID of the job they are the target of
	byVM    = "vm"    // jobs: namespace/name of their instance
)

// A watch keeps pods, instances and jobs in memory, trimmed, while KubeVirt is there.
type watch struct {
	pods      cache.SharedIndexInformer // of *pod
	instances cache.SharedIndexInformer // of *instance
	jobs      cache.SharedIndexInformer // of *job

	missing chan struct{}                    // room for one: a resource was not there
	changed workqueue.TypedInterface[string] // namespace/name of instances whose migrations may have changed
	teller  *teller
}

// newWatch returns a watch that is to be run once.
func newWatch(m *Migrations) (*watch, error) {
	w := &watch{
		pods: coreinformers.NewPodInformer(m.client, corev1.NamespaceAll, 0, cache.Indexers{
			byClaim: indexed(func(p *pod) []string { return qualified(p.Namespace, p.claims) }),
			byJob:   indexed(func(p *pod) []string { return nonempty(p.job) }),
		}),
		missing: make(chan struct{}, 1),
		changed: workqueue.NewTyped[string](),
	}
	kind := func(resource schema.GroupVersionResource, indexers cache.Indexers) cache.SharedIndexInformer {
		return dynamicinformer.NewFilteredDynamicInformer(m.dynamic, resource, corev1.NamespaceAll, 0, indexers, nil).Informer()
	}
	w.instances = kind(instances, cache.Indexers{
		byClaim: indexed(func(i *instance) []string { return qualified(i.Namespace, i.claims) }),
	})
	w.jobs = kind(jobs, cache.Indexers{
		byVM: indexed(func(j *job) []string { return []string{j.Namespace + "/" + j.vm} }),
	})
	w.teller = newTeller(w, m.claims, m.observe)
	return w, errors.Join(
		w.prepare(w.pods, "pods", m.logger, trim(newPod), w.teller.pod),
		w.prepare(w.instances, instances.Resource, m.logger, trim(newInstance), w.teller.instance),
		w.prepare(w.jobs, jobs.Resource, m.logger, trim(newJob), w.teller.job),
	)
}

// prepare sets an informer up: what it keeps, whom it tells, and what it does about errors. seen is called
// with what there is or was.
func (w *watch) prepare(informer cache.SharedIndexInformer, what string, logger *slog.Logger, trim cache.TransformFunc, seen func(object any)) error {
	if err := informer.SetTransform(trim); err != nil {
		return fmt.Errorf("trim cached %s: %w", what, err)
	}
	var told string // the last error; one goroutine calls
	if err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		switch {
		case ctx.Err() != nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), apierrors.IsResourceExpired(err), apierrors.IsGone(err):
			return // a watch ends now and then, and is begun again
		case apierrors.IsNotFound(err):
			select {
			case w.missing <- struct{}{}:
			default:
			}
			return
		case err.Error() != told:
			logger.Warn("a resource that KubeVirt's migrations show in cannot be watched", "resource", what, "error", err)
		}
		told = err.Error()
	}); err != nil {
		return fmt.Errorf("watch %s: %w", what, err)
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    seen,
		UpdateFunc: func(_, object any) { seen(object) },
		DeleteFunc: func(object any) {
			if missed, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = missed.Obj
			}
			seen(object)
		},
	})
	if err != nil {
		return fmt.Errorf("listen to %s: %w", what, err)
	}
	return nil
}

// run keeps the caches and tells what changes, until ctx ends.
func (w *watch) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, informer := range []cache.SharedIndexInformer{w.pods, w.instances, w.jobs} {
		all.Go(func() { informer.RunWithContext(ctx) })
	}
	all.Go(w.teller.run)
	<-ctx.Done()
	w.changed.ShutDown()
	all.Wait()
}

// synced reports whether the caches hold all that there was when the watch began.
func (w *watch) synced() bool {
	return w.pods.HasSynced() && w.instances.HasSynced() && w.jobs.HasSynced()
}

// placed returns the node of the target of an instance's job, and "" where it has none that is known.
func (w *watch) placed(vm *instance) func(uid string) (node string) {
	return func(uid string) string {
		for _, p := range cached[*pod](w.pods, byJob, uid) {
			if p.node != "" {
				return p.node
			}
		}
		return w.teller.recall(vm.Namespace+"/"+vm.Name, uid)
	}
}

// pod returns a pod, and nil where it is not known.
func (w *watch) pod(namespace, name string) *pod { return lookup[*pod](w.pods, namespace, name) }

// instance returns an instance, and nil where it is not known.
func (w *watch) instance(namespace, name string) *instance {
	return lookup[*instance](w.instances, namespace, name)
}

// migrations returns the jobs of an instance.
func (w *watch) migrations(namespace, name string) []*job {
	return cached[*job](w.jobs, byVM, namespace+"/"+name)
}

func lookup[T any](informer cache.SharedIndexInformer, namespace, name string) T {
	object, _, _ := informer.GetIndexer().GetByKey(namespace + "/" + name) // it has no error to return
	typed, _ := object.(T)                                                 // nil where there is none
	return typed
}

func cached[T any](informer cache.SharedIndexInformer, index, key string) []T {
	objects, _ := informer.GetIndexer().ByIndex(index, key) // an index that there is has no error to return
	found := make([]T, 0, len(objects))
	for _, object := range objects {
		if typed, ok := object.(T); ok {
			found = append(found, typed)
		}
	}
	return found
}

// trim makes a transformation of what is kept. What was trimmed before, and the marker of a deletion that
// was missed, it leaves as it is.
func trim[From, To any](read func(From) To) cache.TransformFunc {
	return func(object any) (any, error) {
		if from, ok := object.(From); ok {
			return read(from), nil
		}
		return object, nil
	}
}

func indexed[T any](keys func(T) []string) cache.IndexFunc {
	return func(object any) ([]string, error) {
		if typed, ok := object.(T); ok {
			return keys(typed), nil
		}
		return nil, nil
	}
}

func qualified(namespace string, names []string) []string {
	keys := make([]string, 0, len(names))
	for _, name := range names {
		keys = append(keys, namespace+"/"+name)
	}
	return keys
}

func nonempty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
