// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/rds-csi/rds-csi/actors"
)

// Admit says whether target may have a volume beside holder; it is that method of actors.Orchestrator.
// ErrPrecondition: target is not that of a live migration of the one VM that uses the volume; the error
// says what stands in the way. ErrUnavailable: that cannot be told.
func (m *Migrations) Admit(ctx context.Context, id actors.VolumeID, holder, target actors.NodeID, policy actors.Policy) error {
	if policy == actors.PolicyAny {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	w := m.watch.Load()
	if w == nil {
		if here, err := m.present(ctx); err != nil || !here {
			return without(policy, err)
		}
	}
	err := m.migrates(ctx, w, id, holder, target)
	if err == nil {
		return nil
	}
	if w != nil { // it may have gone since
		if here, lost := m.present(ctx); lost == nil && !here {
			return without(policy, nil)
		}
	}
	return fmt.Errorf("admit node %s to volume %s, which node %s has: %w", target, id, holder, err)
}

// without says what is admitted where there is no KubeVirt, or where that cannot be told.
func without(policy actors.Policy, err error) error {
	switch {
	case err != nil:
		return err
	case policy == actors.PolicyAuto:
		return nil
	}
	return fmt.Errorf("a second node is admitted for live migrations only (rwxPolicy %s), and there is no KubeVirt to make one: %w",
		policy, actors.ErrPrecondition)
}

// migrates is nil where a VM migrates the volume from holder to target.
func (m *Migrations) migrates(ctx context.Context, w *watch, id actors.VolumeID, holder, target actors.NodeID) error {
	cl, err := m.claim(ctx, id)
	if errors.Is(err, actors.ErrNotFound) {
		return refusal("no PersistentVolumeClaim has it, so that no VM uses it")
	}
	if err != nil {
		return err
	}
	c, err := m.claimant(ctx, w, cl, string(holder), string(target))
	if err != nil {
		return err
	}
	j, err := m.readJob(ctx, c)
	if err != nil {
		return err
	}
	vm, err := m.readInstance(ctx, c.namespace, c.vm)
	if err != nil {
		return err
	}
	return c.confirm(vm, j, string(holder))
}

// claimant finds on whose behalf target asks, by the cached pods, and by live ones before it refuses.
func (m *Migrations) claimant(ctx context.Context, w *watch, cl claim, holder, target string) (claimant, error) {
	if w != nil && w.pods.HasSynced() {
		if c, err := judge(users(cached[*pod](w.pods, byClaim, cl.String()), w.pod), holder, target); err == nil {
			return c, nil
		}
	}
	pods, err := m.listPods(ctx, cl.namespace, holder, target)
	if err != nil {
		return claimant{}, err
	}
	owner := func(_, name string) *pod { return pods[name] }
	var using []*pod
	for _, p := range pods {
		if p.uses(cl) {
			using = append(using, p)
		}
	}
	return judge(users(using, owner), holder, target)
}

// listPods returns the pods of a namespace on two nodes, by name. A launcher is on the node of the pods
// that it owns.
func (m *Migrations) listPods(ctx context.Context, namespace, holder, target string) (map[string]*pod, error) {
	pods := make(map[string]*pod)
	for _, node := range []string{holder, target} {
		list, err := m.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{
			FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String(),
		})
		if err != nil {
			return nil, fmt.Errorf("list pods of namespace %s on node %s: %w: %w", namespace, node, err, actors.ErrUnavailable)
		}
		for i := range list.Items {
			if p := newPod(&list.Items[i]); p.node == node {
				pods[p.Name] = p
			}
		}
	}
	return pods, nil
}
