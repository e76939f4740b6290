// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A volume is what a node has of a pod's volume.
type volume struct {
	namespace, claim  string
	pv, handle        string
	staging, target   string
	block             bool
	capability        *csipb.VolumeCapability
	staged, published bool // attempted: what was begun must be undone
	done              bool // both went well
}

// callTimeout bounds a call of the Node service. A kubelet's is 2 minutes.
const callTimeout = 30 * time.Second

// setup attaches, stages and publishes a pod's volumes.
func (k *Kubelet) setup(ctx context.Context, mine *pod, p *corev1.Pod) error {
	for _, v := range p.Spec.Volumes {
		if v.PersistentVolumeClaim == nil {
			continue
		}
		_, pv, err := k.cfg.Cluster.volumeOf(p.Namespace, v.PersistentVolumeClaim.ClaimName)
		if err != nil {
			return err
		}
		if err := k.setupVolume(ctx, k.volume(mine, p, v, pv), pv); err != nil {
			return err
		}
	}
	return nil
}

// volume returns what the node has of a pod's volume; if it is nothing yet, that is noted down.
func (k *Kubelet) volume(mine *pod, p *corev1.Pod, v corev1.Volume, pv *corev1.PersistentVolume) *volume {
	for _, have := range mine.volumes {
		if have.pv == pv.Name {
			return have
		}
	}
	made := &volume{
		namespace: p.Namespace, claim: v.PersistentVolumeClaim.ClaimName, pv: pv.Name, handle: pv.Spec.CSI.VolumeHandle,
		block: pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == corev1.PersistentVolumeBlock, capability: capability(pv),
	}
	plugin := filepath.Join(k.cfg.Dir, "plugins", "kubernetes.io", "csi")
	if made.block {
		made.staging = filepath.Join(plugin, "volumeDevices", "staging", pv.Name)
		made.target = filepath.Join(plugin, "volumeDevices", "publish", pv.Name, string(p.UID))
	} else {
		made.staging = filepath.Join(plugin, k.cfg.Driver, pv.Name, "globalmount")
		made.target = filepath.Join(k.cfg.Dir, "pods", string(p.UID), "volumes", "kubernetes.io~csi", pv.Name, "mount")
	}
	mine.volumes = append(mine.volumes, made)
	return made
}

func capability(pv *corev1.PersistentVolume) *csipb.VolumeCapability {
	mode := csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
	switch {
	case slices.Contains(pv.Spec.AccessModes, corev1.ReadWriteMany):
		mode = csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	case slices.Contains(pv.Spec.AccessModes, corev1.ReadOnlyMany):
		mode = csipb.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
	}
	c := &csipb.VolumeCapability{AccessMode: &csipb.VolumeCapability_AccessMode{Mode: mode}}
	if pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == corev1.PersistentVolumeBlock {
		c.AccessType = &csipb.VolumeCapability_Block{Block: &csipb.VolumeCapability_BlockVolume{}}
	} else {
		c.AccessType = &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{FsType: pv.Spec.CSI.FSType}}
	}
	return c
}

func (k *Kubelet) setupVolume(ctx context.Context, v *volume, pv *corev1.PersistentVolume) error {
	if v.done {
		return nil
	}
	// In use from here on: the attach/detach controller must not take it away any more.
	if err := k.tellInUse(ctx); err != nil {
		return err
	}
	va, err := k.cfg.Cluster.attachment(pv, k.cfg.Name)
	if err != nil {
		return err
	}
	for _, dir := range []string{v.staging, filepath.Dir(v.target)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make a volume's directory: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	v.staged = true
	if _, err := k.cfg.Node.NodeStageVolume(ctx, &csipb.NodeStageVolumeRequest{
		VolumeId: v.handle, StagingTargetPath: v.staging, VolumeCapability: v.capability,
		PublishContext: va.Status.AttachmentMetadata, VolumeContext: pv.Spec.CSI.VolumeAttributes,
	}); err != nil {
		return fmt.Errorf("stage %s: %w", v.pv, err)
	}
	v.published = true
	if _, err := k.cfg.Node.NodePublishVolume(ctx, &csipb.NodePublishVolumeRequest{
		VolumeId: v.handle, StagingTargetPath: v.staging, TargetPath: v.target, VolumeCapability: v.capability,
		PublishContext: va.Status.AttachmentMetadata, VolumeContext: pv.Spec.CSI.VolumeAttributes,
	}); err != nil {
		return fmt.Errorf("publish %s: %w", v.pv, err)
	}
	v.done = true
	return nil
}

// teardown takes a pod's volumes down, those that no other pod of the node uses wholly.
func (k *Kubelet) teardown(ctx context.Context, uid types.UID, mine *pod) error {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for len(mine.volumes) > 0 {
		v := mine.volumes[0]
		if v.published {
			if _, err := k.cfg.Node.NodeUnpublishVolume(call, &csipb.NodeUnpublishVolumeRequest{VolumeId: v.handle, TargetPath: v.target}); err != nil {
				return fmt.Errorf("unpublish %s: %w", v.pv, err)
			}
			v.published, v.done = false, false
		}
		if v.staged && !k.usedByOthers(uid, v.handle) {
			if _, err := k.cfg.Node.NodeUnstageVolume(call, &csipb.NodeUnstageVolumeRequest{VolumeId: v.handle, StagingTargetPath: v.staging}); err != nil {
				return fmt.Errorf("unstage %s: %w", v.pv, err)
			}
			if err := os.RemoveAll(v.staging); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove a volume's directory: %w", err)
			}
		}
		mine.volumes = mine.volumes[1:]
	}
	return k.tellInUse(ctx)
}

func (k *Kubelet) usedByOthers(uid types.UID, handle string) bool {
	for other, p := range k.pods {
		if other != uid && slices.ContainsFunc(p.volumes, func(v *volume) bool { return v.handle == handle && v.staged }) {
			return true
		}
	}
	return false
}

// expand lets the node know of volumes that grew.
func (k *Kubelet) expand(ctx context.Context, mine *pod) error {
	for _, v := range mine.volumes {
		pvc, pv, err := k.cfg.Cluster.volumeOf(v.namespace, v.claim)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(pvc.Status.Conditions, func(c corev1.PersistentVolumeClaimCondition) bool {
			return c.Type == corev1.PersistentVolumeClaimFileSystemResizePending && c.Status == corev1.ConditionTrue
		}) {
			continue
		}
		size := pv.Spec.Capacity[corev1.ResourceStorage]
		call, cancel := context.WithTimeout(ctx, callTimeout)
		_, err = k.cfg.Node.NodeExpandVolume(call, &csipb.NodeExpandVolumeRequest{
			VolumeId: v.handle, VolumePath: v.target, StagingTargetPath: v.staging, VolumeCapability: v.capability,
			CapacityRange: &csipb.CapacityRange{RequiredBytes: size.Value()},
		})
		cancel()
		if err != nil {
			return fmt.Errorf("expand %s: %w", v.pv, err)
		}
		if err := k.tellExpanded(ctx, pvc, size); err != nil {
			return err
		}
	}
	return nil
}
