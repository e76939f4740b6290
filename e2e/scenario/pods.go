// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/rds-csi/rds-csi/e2e/kubelet"
)

// spec is a pod with one claim, as a block device or a file system.
func (w *world) spec(ctx context.Context, claim, node string) (corev1.PodSpec, error) {
	pvc, err := w.control.Client().CoreV1().PersistentVolumeClaims(w.namespace).Get(ctx, claim, metav1.GetOptions{})
	if err != nil {
		return corev1.PodSpec{}, fmt.Errorf("read claim %s: %w", claim, err)
	}
	container := corev1.Container{Name: "main", Image: "none"}
	if pvc.Spec.VolumeMode != nil && *pvc.Spec.VolumeMode == corev1.PersistentVolumeBlock {
		container.VolumeDevices = []corev1.VolumeDevice{{Name: "disk", DevicePath: "/dev/disk"}}
	} else {
		container.VolumeMounts = []corev1.VolumeMount{{Name: "disk", MountPath: "/disk"}}
	}
	seconds := int64(1) // zero would be a deletion by force
	spec := corev1.PodSpec{
		Containers: []corev1.Container{container}, TerminationGracePeriodSeconds: &seconds,
		Volumes: []corev1.Volume{{Name: "disk", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
		}}},
	}
	if node != "" {
		spec.NodeSelector = map[string]string{corev1.LabelHostname: node}
	}
	return spec, nil
}

// pairs returns the names of things and of their claims.
func pairs(args []string, keys ...string) (ws words, names, claims []string, err error) {
	if ws, err = parse(args, 1, append(keys, "claim", "count")...); err != nil {
		return ws, nil, nil, err
	}
	if ws.keyed["claim"] == "" {
		return ws, nil, nil, errors.New("a claim is needed")
	}
	if names, err = ws.names(ws.plain[0]); err != nil {
		return ws, nil, nil, err
	}
	claims, err = ws.names(ws.keyed["claim"])
	return ws, names, claims, err
}

func pod(ctx context.Context, w *world, args []string) error {
	ws, names, claims, err := pairs(args, "node", "writes")
	if err != nil {
		return err
	}
	for i, name := range names {
		spec, err := w.spec(ctx, claims[i], ws.keyed["node"])
		if err != nil {
			return err
		}
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{kubelet.Writes: ws.or("writes", "false")}},
			Spec:       spec,
		}
		if _, err := w.control.Client().CoreV1().Pods(w.namespace).Create(ctx, p, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("make pod %s: %w", name, err)
		}
	}
	return nil
}

func replicaset(ctx context.Context, w *world, args []string) error {
	_, names, claims, err := pairs(args)
	if err != nil {
		return err
	}
	one := int32(1)
	for i, name := range names {
		spec, err := w.spec(ctx, claims[i], "")
		if err != nil {
			return err
		}
		labels := map[string]string{"set": name}
		if _, err := w.control.Client().AppsV1().ReplicaSets(w.namespace).Create(ctx, &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: appsv1.ReplicaSetSpec{
				Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
			},
		}, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("make replica set %s: %w", name, err)
		}
	}
	return nil
}

func remove(ctx context.Context, w *world, args []string) error {
	ws, err := parse(args, 2, "count", "force")
	if err != nil {
		return err
	}
	names, err := ws.names(ws.plain[1])
	if err != nil {
		return err
	}
	background := metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{PropagationPolicy: &background}
	if ws.keyed["force"] == "true" {
		options = *metav1.NewDeleteOptions(0)
	}
	for _, name := range names {
		switch ws.plain[0] {
		case "pod":
			err = w.control.Client().CoreV1().Pods(w.namespace).Delete(ctx, name, options)
		case "claim":
			err = w.control.Client().CoreV1().PersistentVolumeClaims(w.namespace).Delete(ctx, name, options)
		case "replicaset":
			err = w.control.Client().AppsV1().ReplicaSets(w.namespace).Delete(ctx, name, options)
		default:
			return fmt.Errorf("a %s cannot be deleted", ws.plain[0])
		}
		if err != nil {
			return fmt.Errorf("delete %s %s: %w", ws.plain[0], name, err)
		}
	}
	return nil
}

func drain(ctx context.Context, w *world, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("a node is needed")
	}
	n, err := w.node(args[0])
	if err != nil {
		return err
	}
	if err := n.cordon(ctx, true); err != nil {
		return err
	}
	of := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", n.name).String()}
	client := w.control.Client().CoreV1().Pods(w.namespace)
	pods, err := client.List(ctx, of)
	if err != nil {
		return fmt.Errorf("list the pods of node %s: %w", n.name, err)
	}
	for _, p := range pods.Items {
		eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace}}
		if err := client.EvictV1(ctx, eviction); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("evict pod %s: %w", p.Name, err)
		}
	}
	return eventually(ctx, func(ctx context.Context) error {
		pods, err := client.List(ctx, of)
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("node %s has %d pods", n.name, len(pods.Items))
		}
		return err
	})
}

func waitFor(ctx context.Context, w *world, args []string) error {
	ws, err := parse(args, 3, "count")
	if err != nil {
		return err
	}
	names, err := ws.names(ws.plain[1])
	if err != nil {
		return err
	}
	ask, known := map[string]func(context.Context, string, string) error{
		"pod": w.podIs, "claim": w.claimIs, "replicaset": w.replicasetIs,
	}[ws.plain[0]]
	if !known {
		return fmt.Errorf("a %s cannot be waited for", ws.plain[0])
	}
	for _, name := range names {
		if err := eventually(ctx, func(ctx context.Context) error { return ask(ctx, name, ws.plain[2]) }); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) podIs(ctx context.Context, name, state string) error {
	p, err := w.control.Client().CoreV1().Pods(w.namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && state == "gone":
		return nil
	case err != nil:
		return fmt.Errorf("read pod %s: %w", name, err)
	case state == "running" && p.Status.Phase == corev1.PodRunning, state == "succeeded" && p.Status.Phase == corev1.PodSucceeded:
		return nil
	}
	return fmt.Errorf("pod %s on node %q is %s, being deleted: %t", name, p.Spec.NodeName, p.Status.Phase, p.DeletionTimestamp != nil)
}

func (w *world) replicasetIs(ctx context.Context, name, state string) error {
	pods, err := w.control.Client().CoreV1().Pods(w.namespace).List(ctx, metav1.ListOptions{LabelSelector: "set=" + name})
	if err != nil {
		return fmt.Errorf("list the pods of %s: %w", name, err)
	}
	for _, p := range pods.Items {
		if state == "running" && p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
			return nil
		}
	}
	return fmt.Errorf("none of the %d pods of %s is %s", len(pods.Items), name, state)
}
