// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Register makes the node, ready, and tells which driver it has.
func (k *Kubelet) Register(ctx context.Context) error {
	room := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("64"), corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourcePods: resource.MustParse("500"),
	}
	client := k.cfg.Cluster.client
	node, err := client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name:        k.cfg.Name,
		Labels:      map[string]string{corev1.LabelHostname: k.cfg.Name, corev1.LabelOSStable: "linux"},
		Annotations: map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
	}}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("register node %s: %w", k.cfg.Name, err)
	}
	if err := k.patchNode(ctx, "status", map[string]any{"status": map[string]any{
		"capacity": room, "allocatable": room,
		"addresses":  []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: k.cfg.Name}},
		"conditions": []corev1.NodeCondition{readiness(corev1.ConditionTrue)},
	}}); err != nil {
		return err
	}
	if _, err := client.StorageV1().CSINodes().Create(ctx, &storagev1.CSINode{
		ObjectMeta: metav1.ObjectMeta{Name: k.cfg.Name, OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID},
		}},
		Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: k.cfg.Driver, NodeID: k.cfg.Name, TopologyKeys: []string{}}}},
	}, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("register the driver on node %s: %w", k.cfg.Name, err)
	}
	// A new node is tainted until the controller that watches heartbeats, which is off, finds it ready.
	return k.patchNode(ctx, "", map[string]any{"spec": map[string]any{"taints": nil}})
}

func readiness(status corev1.ConditionStatus) corev1.NodeCondition {
	now := metav1.Now()
	return corev1.NodeCondition{Type: corev1.NodeReady, Status: status, LastHeartbeatTime: now, LastTransitionTime: now, Reason: "EndToEndTest"}
}

// SetReady sets the node's readiness: unknown is what a dead node's becomes.
func (k *Kubelet) SetReady(ctx context.Context, status corev1.ConditionStatus) error {
	return k.patchNode(ctx, "status", map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{readiness(status)}}})
}

func (k *Kubelet) patchNode(ctx context.Context, subresource string, patch any) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("patch node %s: %w", k.cfg.Name, err)
	}
	var subresources []string
	if subresource != "" {
		subresources = []string{subresource}
	}
	if _, err := k.cfg.Cluster.client.CoreV1().Nodes().Patch(ctx, k.cfg.Name, types.MergePatchType, body, metav1.PatchOptions{}, subresources...); err != nil {
		return fmt.Errorf("patch node %s: %w", k.cfg.Name, err)
	}
	return nil
}

// tellInUse tells that the node is well, and which volumes are in use.
func (k *Kubelet) tellInUse(ctx context.Context) error {
	inUse := []string{}
	for _, p := range k.pods {
		for _, v := range p.volumes {
			inUse = append(inUse, "kubernetes.io/csi/"+k.cfg.Driver+"^"+v.handle)
		}
	}
	slices.Sort(inUse)
	inUse = slices.Compact(inUse)
	if k.told != nil && slices.Equal(inUse, k.told) {
		return nil
	}
	if err := k.patchNode(ctx, "status", map[string]any{"status": map[string]any{
		"volumesInUse": inUse, "conditions": []corev1.NodeCondition{readiness(corev1.ConditionTrue)},
	}}); err != nil {
		return err
	}
	k.told = inUse
	return nil
}

// running is the status of a pod whose container runs.
func running(p *corev1.Pod) corev1.PodStatus {
	now := metav1.Now()
	return corev1.PodStatus{
		Phase: corev1.PodRunning, StartTime: &now,
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now},
			{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: now},
		},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: p.Spec.Containers[0].Name, Image: p.Spec.Containers[0].Image, Ready: true,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		}},
	}
}

// completed is the status of a pod whose container has ended well.
func completed(p *corev1.Pod) corev1.PodStatus {
	now := metav1.Now()
	return corev1.PodStatus{
		Phase: corev1.PodSucceeded,
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "PodCompleted", LastTransitionTime: now},
		},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: p.Spec.Containers[0].Name, Image: p.Spec.Containers[0].Image,
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", FinishedAt: now}},
		}},
	}
}

// tell updates a pod's status. That it is another pod by now, or gone, is no error: it is seen later.
func (k *Kubelet) tell(ctx context.Context, p *corev1.Pod, status corev1.PodStatus) error {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.UID}, "status": status})
	if err != nil {
		return fmt.Errorf("tell how pod %s is: %w", p.Name, err)
	}
	_, err = k.cfg.Cluster.client.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{}, "status")
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("tell how pod %s is: %w", p.Name, err)
	}
	return nil
}

// remove takes a pod that has ended out of the API server.
func (k *Kubelet) remove(ctx context.Context, p *corev1.Pod) error {
	delete(k.pods, p.UID)
	options := metav1.NewDeleteOptions(0)
	options.Preconditions = &metav1.Preconditions{UID: &p.UID}
	err := k.cfg.Cluster.client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, *options)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("remove pod %s: %w", p.Name, err)
	}
	return nil
}

// tellExpanded tells that a claim has its volume's size.
func (k *Kubelet) tellExpanded(ctx context.Context, pvc *corev1.PersistentVolumeClaim, size resource.Quantity) error {
	grown := pvc.DeepCopy()
	grown.Status.Capacity[corev1.ResourceStorage] = size
	grown.Status.Conditions, grown.Status.AllocatedResourceStatuses = nil, nil
	if _, err := k.cfg.Cluster.client.CoreV1().PersistentVolumeClaims(pvc.Namespace).UpdateStatus(ctx, grown, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("tell that claim %s grew: %w", pvc.Name, err)
	}
	return nil
}
