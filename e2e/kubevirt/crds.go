// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

const (
	group   = "kubevirt.io"
	version = "v1"
)

// The resources, as a client names them.
var (
	VirtualMachines = resource("virtualmachines")
	Instances       = resource("virtualmachineinstances")
	Migrations      = resource("virtualmachineinstancemigrations")
	KubeVirts       = resource("kubevirts")

	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

func resource(plural string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: version, Resource: plural}
}

// kinds are the custom resources. Of instances, the status is no resource of its own.
var kinds = []struct {
	resource schema.GroupVersionResource
	kind     string
	status   bool
}{
	{VirtualMachines, "VirtualMachine", true},
	{Instances, "VirtualMachineInstance", false},
	{Migrations, "VirtualMachineInstanceMigration", true},
	{KubeVirts, "KubeVirt", true},
}

// Install defines the resources and returns when they are served.
func Install(ctx context.Context, client dynamic.Interface) error {
	for _, k := range kinds {
		_, err := client.Resource(definitions).Create(ctx, definition(k.resource, k.kind, k.status), metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("define %s: %w", k.kind, err)
		}
	}
	for _, k := range kinds {
		if err := awaitServed(ctx, client, k.resource); err != nil {
			return err
		}
	}
	return nil
}

// Remove takes the resources away, and all objects with them, and returns when they are gone.
func Remove(ctx context.Context, client dynamic.Interface) error {
	for _, k := range kinds {
		err := client.Resource(definitions).Delete(ctx, k.resource.Resource+"."+group, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("remove the definition of %s: %w", k.kind, err)
		}
	}
	for _, k := range kinds {
		if err := awaitGone(ctx, client, k.resource); err != nil {
			return err
		}
	}
	return nil
}

// awaitGone waits until a resource is not defined any more. Who defined it anew before would see it vanish.
func awaitGone(ctx context.Context, client dynamic.Interface, r schema.GroupVersionResource) error {
	return await(ctx, func(ctx context.Context) error {
		_, err := client.Resource(definitions).Get(ctx, r.Resource+"."+group, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err == nil:
			err = errors.New("it is still there")
		}
		return fmt.Errorf("wait for the end of %s: %w", r.Resource, err)
	})
}

func awaitServed(ctx context.Context, client dynamic.Interface, r schema.GroupVersionResource) error {
	return await(ctx, func(ctx context.Context) error {
		if _, err := client.Resource(r).List(ctx, metav1.ListOptions{Limit: 1}); err != nil {
			return fmt.Errorf("wait for %s to be served: %w", r.Resource, err)
		}
		return nil
	})
}

// await asks until the answer is nil.
func await(ctx context.Context, ask func(context.Context) error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// definition takes objects of any shape: what KubeVirt checks is not what a storage driver sees.
func definition(r schema.GroupVersionResource, kind string, status bool) *unstructured.Unstructured {
	served := map[string]any{
		"name": version, "served": true, "storage": true,
		"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
	}
	if status {
		served["subresources"] = map[string]any{"status": map[string]any{}}
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": r.Resource + "." + group},
		"spec": map[string]any{
			"group": group, "scope": "Namespaced", "versions": []any{served},
			"names": map[string]any{"plural": r.Resource, "kind": kind, "listKind": kind + "List"},
		},
	}}
}
