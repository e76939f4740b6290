// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
)

// A Script moves the objects of one namespace. All fields are required.
type Script struct {
	Client    kubernetes.Interface
	Dynamic   dynamic.Interface
	Namespace string
	// Writes and Completes are the annotations of a pod that let it write, and end.
	Writes, Completes string
}

// Labels and annotations of launcher pods.
const (
	labelApp       = "kubevirt.io"
	labelCreatedBy = "kubevirt.io/created-by"
	labelMigration = "kubevirt.io/migrationJobUID"
	labelVM        = "vm.kubevirt.io/name"
	domain         = "kubevirt.io/domain"
)

// A Machine is a VM to be made.
type Machine struct {
	Name, Node string
	Claims     []string // of the disks that it boots with
	Plugged    []string // claims of those that a pod of their own plugs into the launcher
}

// Boot creates a VM with its disks, and its launcher pod on a node. The VM runs once Booted said so.
func (s *Script) Boot(ctx context.Context, vm Machine) error {
	if _, err := s.create(ctx, VirtualMachines, "VirtualMachine", vm.Name, map[string]any{"runStrategy": "Always"}); err != nil {
		return err
	}
	vmi, err := s.create(ctx, Instances, "VirtualMachineInstance", vm.Name, map[string]any{
		"evictionStrategy": "LiveMigrate", "volumes": volumes(vm),
		"domain": map[string]any{"memory": map[string]any{"guest": "1G"}},
	})
	if err != nil {
		return err
	}
	if err := s.move(ctx, Instances, vm.Name, map[string]any{"phase": "Scheduling"}); err != nil {
		return err
	}
	return s.launch(ctx, vmi, launch{name: launcher(vm.Name), node: vm.Node, claims: vm.Claims, plugged: vm.Plugged})
}

// Booted says that the VM runs, where its launcher pod is. It writes from here on.
func (s *Script) Booted(ctx context.Context, vm string) error {
	pod, err := s.Client.CoreV1().Pods(s.Namespace).Get(ctx, launcher(vm), metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("boot %s: %w", vm, err)
	}
	vmi, err := s.Dynamic.Resource(Instances).Namespace(s.Namespace).Get(ctx, vm, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("boot %s: %w", vm, err)
	}
	_, plugged, err := disks(vmi)
	if err != nil {
		return fmt.Errorf("boot %s: %w", vm, err)
	}
	if err := s.write(ctx, pod.Name, len(plugged) > 0, true); err != nil {
		return err
	}
	return s.move(ctx, Instances, vm, map[string]any{
		"phase": "Running", "nodeName": pod.Spec.NodeName, "activePods": map[string]any{string(pod.UID): pod.Spec.NodeName},
	})
}

// launcher is the name of a VM's first launcher pod.
func launcher(vm string) string { return "virt-launcher-" + vm }

// hotplug is the name of the pod that plugs disks into a launcher.
func hotplug(launcher string) string { return "hp-" + launcher }

// write lets the VM in a launcher write to its disks, or write no more: to those that it booted with, and to
// those that were plugged into it.
func (s *Script) write(ctx context.Context, launcher string, plugged, on bool) error {
	pods := []string{launcher}
	if plugged {
		pods = append(pods, hotplug(launcher))
	}
	for _, pod := range pods {
		if err := s.annotate(ctx, pod, s.Writes, strconv.FormatBool(on)); err != nil {
			return err
		}
	}
	return nil
}

func volumes(vm Machine) []any {
	var all []any
	for i, claim := range slices.Concat(vm.Claims, vm.Plugged) {
		all = append(all, map[string]any{
			"name":                  fmt.Sprintf("disk-%d", i),
			"persistentVolumeClaim": map[string]any{"claimName": claim, "hotpluggable": i >= len(vm.Claims)},
		})
	}
	return all
}

// disks returns the claims of a VM: of the disks that it boots with, and of those that are plugged in.
func disks(vmi *unstructured.Unstructured) (claims, plugged []string, err error) {
	volumes, _, err := unstructured.NestedSlice(vmi.Object, "spec", "volumes")
	if err != nil {
		return nil, nil, err
	}
	for _, v := range volumes {
		volume, _ := v.(map[string]any)
		claim, _, err := unstructured.NestedString(volume, "persistentVolumeClaim", "claimName")
		if err != nil {
			return nil, nil, err
		}
		hotpluggable, _, err := unstructured.NestedBool(volume, "persistentVolumeClaim", "hotpluggable")
		if err != nil {
			return nil, nil, err
		}
		if hotpluggable {
			plugged = append(plugged, claim)
		} else {
			claims = append(claims, claim)
		}
	}
	return claims, plugged, nil
}

// A launch is a launcher pod to be made.
type launch struct {
	name, node string
	migration  string // UID of the migration whose target it is
	claims     []string
	plugged    []string // by a pod beside it
}

// launch creates a launcher pod, and the pod that plugs its disks into it.
func (s *Script) launch(ctx context.Context, vmi *unstructured.Unstructured, l launch) error {
	vm := vmi.GetName()
	pod := newPod(l.name, l.node, "virt-launcher",
		*metav1.NewControllerRef(vmi, schema.GroupVersionKind{Group: group, Version: version, Kind: "VirtualMachineInstance"}))
	pod.Labels[labelCreatedBy], pod.Labels[labelVM] = string(vmi.GetUID()), vm
	pod.Annotations = map[string]string{domain: vm}
	if l.migration != "" {
		pod.Labels[labelMigration] = l.migration
		pod.Spec.Affinity = apart(vmi.GetUID())
	}
	addDisks(pod, l.claims)
	made, err := s.Client.CoreV1().Pods(s.Namespace).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create launcher pod %s: %w", l.name, err)
	}
	if len(l.plugged) == 0 {
		return nil
	}
	pod = newPod(hotplug(l.name), l.node, "hotplug-disk", *metav1.NewControllerRef(made, corev1.SchemeGroupVersion.WithKind("Pod")))
	if l.migration != "" {
		pod.Labels[labelMigration] = l.migration
	}
	addDisks(pod, l.plugged)
	if _, err := s.Client.CoreV1().Pods(s.Namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create the hotplug pod of %s: %w", l.name, err)
	}
	return nil
}

// newPod returns a pod of KubeVirt's for a node.
func newPod(name, node, app string, owner metav1.OwnerReference) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{labelApp: app}, OwnerReferences: []metav1.OwnerReference{owner}},
		Spec: corev1.PodSpec{
			NodeSelector:  map[string]string{corev1.LabelHostname: node},
			RestartPolicy: corev1.RestartPolicyNever,
			Containers:    []corev1.Container{{Name: "compute", Image: app}},
		},
	}
}

func addDisks(pod *corev1.Pod, claims []string) {
	for i, claim := range claims {
		volume := fmt.Sprintf("disk-%d", i)
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
		}})
		pod.Spec.Containers[0].VolumeDevices = append(pod.Spec.Containers[0].VolumeDevices, corev1.VolumeDevice{Name: volume, DevicePath: "/dev/" + volume})
	}
}

// apart keeps a target off the nodes that have a launcher of the same VM.
func apart(vmi types.UID) *corev1.Affinity {
	return &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{labelCreatedBy: string(vmi)}},
			TopologyKey:   corev1.LabelHostname,
		}},
	}}
}

func (s *Script) create(ctx context.Context, r schema.GroupVersionResource, kind, name string, spec map[string]any) (*unstructured.Unstructured, error) {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetAPIVersion(group + "/" + version)
	o.SetKind(kind)
	o.SetName(name)
	made, err := s.Dynamic.Resource(r).Namespace(s.Namespace).Create(ctx, o, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("create %s %s: %w", kind, name, err)
	}
	return made, nil
}

// move merges a status into an object's, by way of its status where that is a resource.
func (s *Script) move(ctx context.Context, r schema.GroupVersionResource, name string, status map[string]any) error {
	body, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return fmt.Errorf("move %s %s: %w", r.Resource, name, err)
	}
	var subresources []string
	if r != Instances {
		subresources = []string{"status"}
	}
	of := s.Dynamic.Resource(r).Namespace(s.Namespace)
	if _, err := of.Patch(ctx, name, types.MergePatchType, body, metav1.PatchOptions{}, subresources...); err != nil {
		return fmt.Errorf("move %s %s: %w", r.Resource, name, err)
	}
	return nil
}

// annotate tells a pod's node what its container does.
func (s *Script) annotate(ctx context.Context, pod, annotation, value string) error {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{annotation: value}}})
	if err != nil {
		return fmt.Errorf("annotate pod %s: %w", pod, err)
	}
	if _, err := s.Client.CoreV1().Pods(s.Namespace).Patch(ctx, pod, types.MergePatchType, body, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("annotate pod %s: %w", pod, err)
	}
	return nil
}

// now is a time as KubeVirt writes it.
func now() string { return time.Now().UTC().Format(time.RFC3339) }
