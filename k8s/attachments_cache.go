// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// listen has Changed called for what the caches see.
func (a *Attachments) listen() error {
	if _, err := a.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: a.updated, DeleteFunc: a.deleted,
	}); err != nil {
		return fmt.Errorf("listen for VolumeAttachments: %w", err)
	}
	if _, err := a.config.Claims.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    a.volumeSeen,
		UpdateFunc: func(_, object any) { a.volumeSeen(object) },
	}); err != nil {
		return fmt.Errorf("listen for PersistentVolumes: %w", err)
	}
	return nil
}

// updated looks for a VolumeAttachment that took the place of another one, whose deletion was missed. What
// one asks for never changes.
func (a *Attachments) updated(before, after any) {
	was, ok := before.(*storagev1.VolumeAttachment)
	if !ok || was.Spec.Attacher != a.config.Driver {
		return
	}
	if is, ok := after.(*storagev1.VolumeAttachment); ok && is.UID == was.UID && sameSpec(is, was) {
		return
	}
	a.forget(was.Name)
	a.config.Changed()
}

func (a *Attachments) deleted(object any) {
	if missed, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = missed.Obj
	}
	va, ok := object.(*storagev1.VolumeAttachment)
	if !ok || va.Spec.Attacher != a.config.Driver {
		return
	}
	a.forget(va.Name)
	a.config.Changed()
}

// volumeSeen looks for VolumeAttachments that waited for their PersistentVolume. Before the caches are
// filled all of them do, and Run tells of that once.
func (a *Attachments) volumeSeen(object any) {
	pv, ok := object.(*corev1.PersistentVolume)
	if ok && a.Synced() && len(a.cached(byPersistentVolume, pv.Name)) > 0 {
		a.config.Changed()
	}
}

// cached returns the VolumeAttachments of this driver that an index has under a key.
func (a *Attachments) cached(index, key string) []*storagev1.VolumeAttachment {
	objects, err := a.informer.GetIndexer().ByIndex(index, key)
	if err != nil {
		return nil // there is that index
	}
	found := make([]*storagev1.VolumeAttachment, 0, len(objects))
	for _, object := range objects {
		if va, ok := object.(*storagev1.VolumeAttachment); ok {
			found = append(found, va)
		}
	}
	return found
}

func (a *Attachments) index(key func(*storagev1.VolumeAttachment) string) cache.IndexFunc {
	return func(object any) ([]string, error) {
		va, ok := object.(*storagev1.VolumeAttachment)
		if !ok || va.Spec.Attacher != a.config.Driver {
			return nil, nil
		}
		return []string{key(va)}, nil
	}
}

// trim keeps in memory what is asked for: of another driver's VolumeAttachments, that they exist.
func (a *Attachments) trim(object any) (any, error) {
	va, ok := object.(*storagev1.VolumeAttachment)
	if !ok {
		return object, nil // the marker of a deletion that was missed
	}
	small := &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{
		Name: va.Name, UID: va.UID, ResourceVersion: va.ResourceVersion,
	}}
	if va.Spec.Attacher != a.config.Driver {
		return small, nil
	}
	small.CreationTimestamp = va.CreationTimestamp
	small.Spec = storagev1.VolumeAttachmentSpec{
		Attacher: a.config.Driver, NodeName: va.Spec.NodeName,
		Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: va.Spec.Source.PersistentVolumeName},
	}
	if inline := va.Spec.Source.InlineVolumeSpec; inline != nil {
		small.Spec.Source.InlineVolumeSpec = &corev1.PersistentVolumeSpec{}
		if inline.CSI != nil {
			small.Spec.Source.InlineVolumeSpec.CSI = &corev1.CSIPersistentVolumeSource{
				Driver: inline.CSI.Driver, VolumeHandle: inline.CSI.VolumeHandle,
			}
		}
	}
	small.Status.Attached = va.Status.Attached
	return small, nil
}

// sameSpec reports whether two VolumeAttachments ask for the same.
func sameSpec(a, b *storagev1.VolumeAttachment) bool {
	return a.Spec.Attacher == b.Spec.Attacher && a.Spec.NodeName == b.Spec.NodeName &&
		persistentVolumeOf(a) == persistentVolumeOf(b) && sameSource(inlineOf(a), inlineOf(b))
}

func sameSource(a, b *corev1.CSIPersistentVolumeSource) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Driver == b.Driver && a.VolumeHandle == b.VolumeHandle
}

// persistentVolumeOf returns the name of the PersistentVolume that is to be attached, or "".
func persistentVolumeOf(va *storagev1.VolumeAttachment) string {
	if va.Spec.Source.PersistentVolumeName == nil {
		return ""
	}
	return *va.Spec.Source.PersistentVolumeName
}

// inlineOf returns the CSI source of a volume that stands in the VolumeAttachment itself, or nil.
func inlineOf(va *storagev1.VolumeAttachment) *corev1.CSIPersistentVolumeSource {
	if va.Spec.Source.InlineVolumeSpec == nil {
		return nil
	}
	return va.Spec.Source.InlineVolumeSpec.CSI
}
