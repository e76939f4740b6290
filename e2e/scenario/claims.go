// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/rds-csi/rds-csi/actors"
)

var accessModes = map[string]corev1.PersistentVolumeAccessMode{
	"RWX": corev1.ReadWriteMany, "RWO": corev1.ReadWriteOnce, "RWOP": corev1.ReadWriteOncePod, "ROX": corev1.ReadOnlyMany,
}

func provision(ctx context.Context, w *world, args []string) error {
	ws, err := parse(args, 1, "count", "class", "size", "access", "mode", "waits")
	if err != nil {
		return err
	}
	names, err := ws.names(ws.plain[0])
	if err != nil {
		return err
	}
	access, known := accessModes[ws.or("access", "RWX")]
	if !known {
		return fmt.Errorf("there is no access mode %s", ws.keyed["access"])
	}
	size, err := resource.ParseQuantity(ws.or("size", "64Mi"))
	if err != nil {
		return fmt.Errorf("read the size: %w", err)
	}
	class, mode := ws.or("class", "rds-vm"), corev1.PersistentVolumeMode(ws.or("mode", "Block"))
	claims := w.control.Client().CoreV1().PersistentVolumeClaims(w.namespace)
	for _, name := range names {
		if _, err := claims.Create(ctx, &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.PersistentVolumeClaimSpec{
				StorageClassName: &class, VolumeMode: &mode, AccessModes: []corev1.PersistentVolumeAccessMode{access},
				Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: size}},
			},
		}, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("make claim %s: %w", name, err)
		}
	}
	if ws.keyed["waits"] == "true" {
		return nil
	}
	for _, name := range names {
		if err := eventually(ctx, func(ctx context.Context) error { return w.claimIs(ctx, name, "bound") }); err != nil {
			return err
		}
		if _, err := w.volumeOf(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) claim(ctx context.Context, name string) (*corev1.PersistentVolumeClaim, error) {
	pvc, err := w.control.Client().CoreV1().PersistentVolumeClaims(w.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read claim %s: %w", name, err)
	}
	return pvc, nil
}

// claimIs reports whether a claim is bound, gone, or of a size.
func (w *world) claimIs(ctx context.Context, name, state string) error {
	pvc, err := w.claim(ctx, name)
	switch {
	case apierrors.IsNotFound(err) && state == "gone":
		return nil
	case err != nil:
		return err
	case state == "bound" && pvc.Status.Phase == corev1.ClaimBound:
		return nil
	}
	size := pvc.Status.Capacity[corev1.ResourceStorage]
	if want, err := resource.ParseQuantity(state); err == nil && size.Cmp(want) == 0 {
		return nil
	}
	return fmt.Errorf("claim %s is %s and has %s", name, pvc.Status.Phase, &size)
}

func expand(ctx context.Context, w *world, args []string) error {
	if len(args) != 2 {
		return errors.New("a claim and a size are needed")
	}
	body, err := json.Marshal(map[string]any{"spec": map[string]any{"resources": map[string]any{"requests": map[string]any{"storage": args[1]}}}})
	if err != nil {
		return fmt.Errorf("expand claim %s: %w", args[0], err)
	}
	if _, err := w.control.Client().CoreV1().PersistentVolumeClaims(w.namespace).Patch(ctx, args[0], types.MergePatchType, body, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("expand claim %s: %w", args[0], err)
	}
	return nil
}

// volumeOf returns the volume of a claim.
func (w *world) volumeOf(ctx context.Context, claim string) (actors.VolumeID, error) {
	if id, known := w.volumes[claim]; known {
		return id, nil
	}
	pvc, err := w.claim(ctx, claim)
	if err != nil {
		return "", err
	}
	pv, err := w.control.Client().CoreV1().PersistentVolumes().Get(ctx, pvc.Spec.VolumeName, metav1.GetOptions{})
	if err != nil || pv.Spec.CSI == nil {
		return "", fmt.Errorf("read the volume of claim %s: %w", claim, err)
	}
	w.volumes[claim] = actors.VolumeID(pv.Spec.CSI.VolumeHandle)
	return w.volumes[claim], nil
}

// attachments returns the VolumeAttachments of a claim's volume.
func (w *world) attachments(ctx context.Context, claim string) ([]storagev1.VolumeAttachment, error) {
	pvc, err := w.claim(ctx, claim)
	if err != nil {
		return nil, err
	}
	all, err := w.control.Client().StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list attachments: %w", err)
	}
	return slices.DeleteFunc(all.Items, func(va storagev1.VolumeAttachment) bool {
		return va.Spec.Source.PersistentVolumeName == nil || *va.Spec.Source.PersistentVolumeName != pvc.Spec.VolumeName
	}), nil
}

func attached(ctx context.Context, w *world, args []string) error {
	ws, err := parse(args, 1, "count")
	if err != nil {
		return err
	}
	claims, err := ws.names(ws.plain[0])
	if err != nil {
		return err
	}
	want := slices.Sorted(slices.Values(ws.plain[1:]))
	for _, claim := range claims {
		if err := eventually(ctx, func(ctx context.Context) error { return w.attachedTo(ctx, claim, want) }); err != nil {
			return err
		}
		if err := w.seen(ctx, claim, want); err != nil {
			return err
		}
	}
	return nil
}

// seen keeps where a claim is attached, if it is one that migrates.
func (w *world) seen(ctx context.Context, claim string, nodes []string) error {
	if slices.Equal(nodes, []string{"somewhere"}) {
		return nil
	}
	id, err := w.volumeOf(ctx, claim)
	if err != nil {
		return err
	}
	if len(nodes) > 1 {
		pvc, err := w.claim(ctx, claim)
		if err != nil || !slices.Contains(pvc.Spec.AccessModes, corev1.ReadWriteMany) {
			return err
		}
	}
	return w.tally.see(id, nodes)
}

func (w *world) attachedTo(ctx context.Context, claim string, want []string) error {
	attachments, err := w.attachments(ctx, claim)
	if err != nil {
		return err
	}
	var nodes, told []string
	for _, va := range attachments {
		nodes = append(nodes, va.Spec.NodeName)
		told = append(told, tell(va))
		if !va.Status.Attached || va.DeletionTimestamp != nil {
			return fmt.Errorf("claim %s: %s", claim, strings.Join(told, ", "))
		}
	}
	slices.Sort(nodes)
	if slices.Equal(nodes, want) || len(nodes) == 1 && slices.Equal(want, []string{"somewhere"}) {
		return nil
	}
	return fmt.Errorf("claim %s has the attachments [%s], not %v", claim, strings.Join(told, ", "), want)
}

func tell(va storagev1.VolumeAttachment) string {
	s := fmt.Sprintf("%s: attached %t", va.Spec.NodeName, va.Status.Attached)
	if va.DeletionTimestamp != nil {
		s += ", being deleted"
	}
	for _, e := range []*storagev1.VolumeError{va.Status.AttachError, va.Status.DetachError} {
		if e != nil {
			s += ", error " + strconv.Quote(e.Message)
		}
	}
	return s
}

func refused(ctx context.Context, w *world, args []string) error {
	if len(args) < 3 {
		return errors.New("a claim, a node and what is said are needed")
	}
	text := strings.Join(args[2:], " ")
	return eventually(ctx, func(ctx context.Context) error {
		attachments, err := w.attachments(ctx, args[0])
		if err != nil {
			return err
		}
		for _, va := range attachments {
			if va.Spec.NodeName != args[1] {
				continue
			}
			if e := va.Status.AttachError; !va.Status.Attached && e != nil && strings.Contains(e.Message, text) {
				return nil
			}
			return fmt.Errorf("claim %s: %s", args[0], tell(va))
		}
		return fmt.Errorf("claim %s has no attachment for node %s", args[0], args[1])
	})
}
