// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/k8s"
)

// readInstance reads an instance. It is nil where there is none.
func (m *Migrations) readInstance(ctx context.Context, namespace, name string) (*instance, error) {
	u, err := m.get(ctx, instances, namespace, name)
	if err != nil || u == nil {
		return nil, err
	}
	return newInstance(u), nil
}

// readJob reads a claimant's job: by its name, where the pod tells it, or else by its UID. It is nil where
// there is none.
func (m *Migrations) readJob(ctx context.Context, c claimant) (*job, error) {
	if c.job != "" {
		u, err := m.get(ctx, jobs, c.namespace, c.job)
		if err != nil {
			return nil, err
		}
		if u != nil && string(u.GetUID()) == c.jobUID {
			return newJob(u), nil
		}
	}
	all, err := m.listJobs(ctx, c.namespace)
	if err != nil {
		return nil, err
	}
	for _, j := range all {
		if string(j.UID) == c.jobUID {
			return j, nil
		}
	}
	return nil, nil
}

func (m *Migrations) listInstances(ctx context.Context, namespace string) ([]*instance, error) {
	return list(ctx, m, instances, namespace, newInstance)
}

func (m *Migrations) listJobs(ctx context.Context, namespace string) ([]*job, error) {
	return list(ctx, m, jobs, namespace, newJob)
}

// get reads an object of KubeVirt's. It is nil where there is none.
func (m *Migrations) get(ctx context.Context, resource schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error) {
	u, err := m.dynamic.Resource(resource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case k8s.Gone(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read %s %s/%s: %w: %w", resource.Resource, namespace, name, err, actors.ErrUnavailable)
	}
	return u, nil
}

// list reads all objects of a kind in a namespace.
func list[T any](ctx context.Context, m *Migrations, resource schema.GroupVersionResource, namespace string, read func(*unstructured.Unstructured) T) ([]T, error) {
	all, err := m.dynamic.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list %s of namespace %s: %w: %w", resource.Resource, namespace, err, actors.ErrUnavailable)
	}
	objects := make([]T, 0, len(all.Items))
	for i := range all.Items {
		objects = append(objects, read(&all.Items[i]))
	}
	return objects, nil
}
