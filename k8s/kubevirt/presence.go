// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/rds-csi/rds-csi/actors"
)

// KubeVirt's API.
const group = "kubevirt.io"

var (
	version   = schema.GroupVersion{Group: group, Version: "v1"}
	instances = version.WithResource("virtualmachineinstances")
	jobs      = version.WithResource("virtualmachineinstancemigrations")
)

// witness is a group that every API server has that this driver can run with. A list without it is not
// whole.
const witness = "storage.k8s.io"

// present asks the API server whether KubeVirt is there. It is ErrUnavailable where that cannot be told,
// and where only a part of it is there.
func (m *Migrations) present(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	list, err := m.client.Discovery().ServerResourcesForGroupVersionWithContext(ctx, version.String())
	switch {
	case err == nil:
		return true, whole(list)
	case !errors.IsNotFound(err):
		return false, fmt.Errorf("look for KubeVirt: %w: %w", err, actors.ErrUnavailable)
	}
	// An API server that has just started may not know yet what it serves, and a proxy never does.
	groups, err := m.client.Discovery().ServerGroupsWithContext(ctx)
	if err != nil {
		return false, fmt.Errorf("look for KubeVirt among the API's groups: %w: %w", err, actors.ErrUnavailable)
	}
	has := func(name string) bool {
		return slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == name })
	}
	switch {
	case has(group):
		return false, fmt.Errorf("KubeVirt is there without its API %s (is it being installed, or very old?): %w", version, actors.ErrUnavailable)
	case !has(witness):
		return false, fmt.Errorf("look for KubeVirt: the API server lists %d groups without %s: %w", len(groups.Groups), witness, actors.ErrUnavailable)
	}
	return false, nil
}

// whole reports what is missing of KubeVirt's API.
func whole(list *metav1.APIResourceList) error {
	for _, want := range []string{instances.Resource, jobs.Resource} {
		if !slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == want }) {
			return fmt.Errorf("KubeVirt is there without %s (is it being installed or removed?): %w", want, actors.ErrUnavailable)
		}
	}
	return nil
}
