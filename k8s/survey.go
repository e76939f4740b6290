// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/rds-csi/rds-csi/actors"
)

// surveyTimeout bounds each LIST of a survey, which may be long.
const surveyTimeout = 30 * time.Second

// A Survey is how a cluster sees a driver's volumes at one time, for people to read.
type Survey struct {
	// Claims are the claims of the volumes, as namespace/name, or their PersistentVolumes' names.
	Claims map[actors.VolumeID]string
	// Attachments are the VolumeAttachments of the volumes, by node.
	Attachments map[actors.VolumeID][]Attachment
	// Unmapped are the names of VolumeAttachments of which nobody knows the volume.
	Unmapped []string
}

// An Attachment is a VolumeAttachment.
type Attachment struct {
	Name  string
	Node  actors.NodeID
	State AttachmentState
	Since time.Time // of its creation
}

// An AttachmentState is how far a VolumeAttachment has come.
type AttachmentState string

// The states.
const (
	Attaching    AttachmentState = "attaching"
	AttachedTo   AttachmentState = "attached"
	BeingDeleted AttachmentState = "being deleted"
)

// TakeSurvey reads PersistentVolumes and VolumeAttachments live. It is ErrUnavailable where it cannot.
func TakeSurvey(ctx context.Context, client kubernetes.Interface, driver string) (*Survey, error) {
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	attachments, err := client.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list VolumeAttachments: %w: %w", err, actors.ErrUnavailable)
	}
	// After them: whatever they name was there before.
	volumes, err := client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list PersistentVolumes: %w: %w", err, actors.ErrUnavailable)
	}
	s := &Survey{Claims: map[actors.VolumeID]string{}, Attachments: map[actors.VolumeID][]Attachment{}}
	handles := map[string]actors.VolumeID{}
	slices.SortFunc(volumes.Items, func(a, b corev1.PersistentVolume) int { return cmp.Compare(rank(&a), rank(&b)) })
	for i := range volumes.Items { // the one in use last
		pv := &volumes.Items[i]
		if pv.Spec.CSI == nil || pv.Spec.CSI.Driver != driver {
			continue
		}
		id := actors.VolumeID(pv.Spec.CSI.VolumeHandle)
		handles[pv.Name], s.Claims[id] = id, pv.Name
		if claim := pv.Spec.ClaimRef; claim != nil {
			s.Claims[id] = claim.Namespace + "/" + claim.Name
		}
	}
	for i := range attachments.Items {
		if va := &attachments.Items[i]; va.Spec.Attacher == driver {
			s.add(va, handles)
		}
	}
	for _, of := range s.Attachments {
		slices.SortFunc(of, func(a, b Attachment) int { return cmp.Compare(a.Node, b.Node) })
	}
	return s, nil
}

func (s *Survey) add(va *storagev1.VolumeAttachment, handles map[string]actors.VolumeID) {
	id := handles[persistentVolumeOf(va)]
	if inline := inlineOf(va); inline != nil && inline.Driver == va.Spec.Attacher {
		id = actors.VolumeID(inline.VolumeHandle)
	}
	node := actors.NodeID(va.Spec.NodeName)
	if name := actors.VolumeID(persistentVolumeOf(va)); id == "" && va.Name == attachmentName(name, va.Spec.Attacher, node) {
		id = name // its PersistentVolume is gone, which was named like the volume
	}
	if id == "" {
		s.Unmapped = append(s.Unmapped, va.Name)
		return
	}
	state := Attaching
	switch {
	case va.DeletionTimestamp != nil:
		state = BeingDeleted
	case va.Status.Attached:
		state = AttachedTo
	}
	s.Attachments[id] = append(s.Attachments[id], Attachment{va.Name, node, state, va.CreationTimestamp.Time})
}

// vmLabels name the VM of a KubeVirt pod, the surest first.
var vmLabels = []string{"vm.kubevirt.io/name", "kubevirt.io/domain"}

// Users returns what uses a claim on a node, for people to read: "VM <name> (pod <name>)" or "pod <name>".
// It asks for the right to list pods, and is ErrUnavailable where it cannot tell.
func Users(ctx context.Context, client kubernetes.Interface, namespace, claim string, node actors.NodeID) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + string(node)})
	if err != nil {
		return nil, fmt.Errorf("list pods of namespace %s on node %s: %w: %w", namespace, node, err, actors.ErrUnavailable)
	}
	var users []string
	for _, pod := range pods.Items {
		if pod.Spec.NodeName != string(node) || !slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
			return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim
		}) {
			continue
		}
		users = append(users, userOf(&pod))
	}
	return users, nil
}

func userOf(pod *corev1.Pod) string {
	for _, label := range vmLabels {
		for _, of := range []map[string]string{pod.Labels, pod.Annotations} {
			if name := of[label]; name != "" {
				return fmt.Sprintf("VM %s/%s (pod %s)", pod.Namespace, name, pod.Name)
			}
		}
	}
	return fmt.Sprintf("pod %s/%s", pod.Namespace, pod.Name)
}
