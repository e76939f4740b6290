// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What KubeVirt marks its pods with.
const (
	labelApp       = "kubevirt.io"
	labelCreatedBy = "kubevirt.io/created-by"       // on launchers: the instance's UID
	labelJob       = "kubevirt.io/migrationJobUID"  // on a target's pods
	annotationJob  = "kubevirt.io/migrationJobName" // on a target's pods

	appLauncher = "virt-launcher"
	appHotplug  = "hotplug-disk"

	kindInstance = "VirtualMachineInstance"
)

// A pod is what the driver needs of a Pod.
type pod struct {
	metav1.ObjectMeta // trimmed; labels are not kept

	node     string
	finished bool     // its containers have ended
	claims   []string // names of PersistentVolumeClaims in its namespace
	app      string   // KubeVirt's name for its part
	vm       string   // UID of its instance
	job      string   // UID of the job that it is the target of
	jobName  string
	owner    metav1.OwnerReference // its controller
}

// newPod trims a Pod.
func newPod(p *corev1.Pod) *pod {
	out := &pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:         p.Namespace,
			Name:              p.Name,
			UID:               p.UID,
			ResourceVersion:   p.ResourceVersion,
			DeletionTimestamp: p.DeletionTimestamp,
		},
		node:     p.Spec.NodeName,
		finished: p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
		app:      p.Labels[labelApp],
		vm:       p.Labels[labelCreatedBy],
		job:      p.Labels[labelJob],
		jobName:  p.Annotations[annotationJob],
	}
	if owner := metav1.GetControllerOfNoCopy(p); owner != nil {
		out.owner = metav1.OwnerReference{Kind: owner.Kind, Name: owner.Name, UID: owner.UID}
	}
	for i := range p.Spec.Volumes {
		switch v := &p.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			out.claims = append(out.claims, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			out.claims = append(out.claims, p.Name+"-"+v.Name)
		}
	}
	return out
}

// uses reports whether the pod uses a claim.
func (p *pod) uses(c claim) bool {
	return p.Namespace == c.namespace && slices.Contains(p.claims, c.name)
}

// launcher reports whether the pod runs a VM, and is the one that its label says.
func (p *pod) launcher() bool {
	return p.app == appLauncher && p.vm != "" && p.owner.Kind == kindInstance && string(p.owner.UID) == p.vm
}

// hotplug reports whether the pod stands in for disks that were plugged into a launcher.
func (p *pod) hotplug() bool { return p.app == appHotplug && p.owner.Kind == "Pod" }

// A user is a pod that uses a volume, and the launcher that it is or belongs to; nil: it is no VM's.
type user struct {
	*pod
	launcher *pod
}

// instance returns the name and the UID of the instance.
func (u user) instance() (name, uid string) { return u.launcher.owner.Name, u.launcher.vm }

// target returns the job that the pod is the target of, and "" where it is none's.
func (u user) target() (uid, name string) {
	if u.job != "" {
		return u.job, u.jobName
	}
	return u.launcher.job, u.launcher.jobName
}

// users finds the launchers of pods, which it puts in order. owner looks one up by namespace and name.
func users(pods []*pod, owner func(namespace, name string) *pod) []user {
	all := make([]user, 0, len(pods))
	for _, p := range pods {
		u := user{pod: p}
		switch {
		case p.launcher():
			u.launcher = p
		case p.hotplug():
			if l := owner(p.Namespace, p.owner.Name); l != nil && l.UID == p.owner.UID && l.launcher() {
				u.launcher = l
			}
		}
		all = append(all, u)
	}
	slices.SortFunc(all, func(a, b user) int { return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.Name, b.Name)) })
	return all
}
