// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// forceAll removes all objects of a resource, whoever wants to have a word before.
func (w *world) forceAll(ctx context.Context, group, version, resource string, drop []byte) error {
	all := w.dynamic.Resource(schema.GroupVersionResource{Group: group, Version: version, Resource: resource})
	list, err := all.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list %s: %w", resource, err)
	}
	var errs []error
	for _, o := range list.Items {
		var of dynamic.ResourceInterface = all
		if o.GetNamespace() != "" {
			of = all.Namespace(o.GetNamespace())
		}
		if err := of.Delete(ctx, o.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("delete %s %s: %w", resource, o.GetName(), err))
		}
		if _, err := of.Patch(ctx, o.GetName(), types.MergePatchType, drop, metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("release %s %s: %w", resource, o.GetName(), err))
		}
	}
	return errors.Join(errs...)
}
