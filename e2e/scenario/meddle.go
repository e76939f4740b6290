// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/rds-csi/rds-csi/e2e/kubelet"
)

// class makes a StorageClass that is another one but for some parameters. It lasts as long as the scenario.
func class(ctx context.Context, w *world, args []string) error {
	if len(args) < 2 {
		return errors.New("a name and the class that it is like are needed")
	}
	classes := w.control.Client().StorageV1().StorageClasses()
	like, err := classes.Get(ctx, args[1], metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read class %s: %w", args[1], err)
	}
	like.ObjectMeta = metav1.ObjectMeta{Name: args[0]}
	for _, arg := range args[2:] {
		key, value, keyed := strings.Cut(arg, "=")
		if !keyed {
			return fmt.Errorf("%s is no parameter with its value", arg)
		}
		like.Parameters[key] = value
	}
	if _, err := classes.Create(ctx, like, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make class %s: %w", args[0], err)
	}
	w.classes = append(w.classes, args[0])
	return nil
}

// removeClasses takes the scenario's own classes away.
func (w *world) removeClasses(ctx context.Context) error {
	for _, name := range w.classes {
		err := w.control.Client().StorageV1().StorageClasses().Delete(ctx, name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete class %s: %w", name, err)
		}
	}
	return nil
}

// release removes a VolumeAttachment with its finalizers, as people do who are told to.
func release(ctx context.Context, w *world, args []string) error {
	if len(args) != 2 {
		return errors.New("a claim and a node are needed")
	}
	id, err := w.volumeOf(ctx, args[0])
	if err != nil {
		return err
	}
	name := kubelet.AttachmentName(string(id), driverName, args[1])
	attachments := w.control.Client().StorageV1().VolumeAttachments()
	err = attachments.Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil {
		return fmt.Errorf("delete the attachment of claim %s to node %s: %w", args[0], args[1], err)
	}
	_, err = attachments.Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("release the attachment of claim %s to node %s: %w", args[0], args[1], err)
	}
	return nil
}

// restore makes a VolumeAttachment that says it is attached, as out of a backup. Whoever attaches must be
// away, or it is what they make of it.
func restore(ctx context.Context, w *world, args []string) error {
	if len(args) != 2 {
		return errors.New("a claim and a node are needed")
	}
	id, err := w.volumeOf(ctx, args[0])
	if err != nil {
		return err
	}
	pvc, err := w.claim(ctx, args[0])
	if err != nil {
		return err
	}
	attachments := w.control.Client().StorageV1().VolumeAttachments()
	name := kubelet.AttachmentName(string(id), driverName, args[1])
	if _, err := attachments.Create(ctx, &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{
			Name:       name,
			Finalizers: []string{"external-attacher/" + strings.ReplaceAll(driverName, ".", "-")},
		},
		Spec: storagev1.VolumeAttachmentSpec{
			Attacher: driverName, NodeName: args[1],
			Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &pvc.Spec.VolumeName},
		},
	}, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("restore the attachment of claim %s to node %s: %w", args[0], args[1], err)
	}
	// The attacher may be at it already, to no avail.
	_, err = attachments.Patch(ctx, name, types.MergePatchType, []byte(`{"status":{"attached":true}}`), metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("restore the attachment of claim %s to node %s: %w", args[0], args[1], err)
	}
	return nil
}

// edit changes a claim's PersistentVolume by hand.
func edit(ctx context.Context, w *world, args []string) error {
	if len(args) != 2 {
		return errors.New("a claim and a change in JSON are needed")
	}
	pvc, err := w.claim(ctx, args[0])
	if err != nil {
		return err
	}
	_, err = w.control.Client().CoreV1().PersistentVolumes().Patch(ctx, pvc.Spec.VolumeName, types.MergePatchType, []byte(args[1]), metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("edit the volume of claim %s: %w", args[0], err)
	}
	return nil
}

// bring makes a PersistentVolume by hand, and a claim that has it.
func bring(ctx context.Context, w *world, args []string) error {
	if len(args) != 2 {
		return errors.New("a claim and a volume's ID are needed")
	}
	name, class, block := w.namespace+"-"+args[0], "", corev1.PersistentVolumeBlock
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("64Mi")}
	access := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	if _, err := w.control.Client().CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": driverName}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: size, AccessModes: access, VolumeMode: &block, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			ClaimRef:               &corev1.ObjectReference{Namespace: w.namespace, Name: args[0]},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driverName, VolumeHandle: args[1]}},
		},
	}, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make volume %s: %w", name, err)
	}
	if _, err := w.control.Client().CoreV1().PersistentVolumeClaims(w.namespace).Create(ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: args[0]},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, VolumeMode: &block, AccessModes: access, VolumeName: name,
			Resources: corev1.VolumeResourceRequirements{Requests: size},
		},
	}, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make claim %s: %w", args[0], err)
	}
	return eventually(ctx, func(ctx context.Context) error { return w.claimIs(ctx, args[0], "bound") })
}
