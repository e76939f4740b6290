// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"strings"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/e2e/guest/api"
)

// A Spec says what a volume is to be.
type Spec struct {
	FS         string // ext4 or xfs; empty: a block device
	Size       int64  // bytes
	Shared     bool   // ReadWriteMany
	Parameters map[string]string
}

// A Volume is one that was made.
type Volume struct {
	ID         actors.VolumeID
	Spec       Spec
	stage      *Stage
	context    map[string]string
	capability *csipb.VolumeCapability
	rings      int // that VMs have on it
}

// NewVolume makes a volume.
func (st *Stage) NewVolume(ctx context.Context, spec Spec) (*Volume, error) {
	v := &Volume{Spec: spec, stage: st, capability: spec.capability()}
	parameters := map[string]string{"reconnectDelay": "2", "rwxPolicy": "any"}
	maps.Copy(parameters, spec.Parameters)
	resp, err := st.Controller().CreateVolume(ctx, &csipb.CreateVolumeRequest{
		Name: "pvc-" + uuid.NewString(), CapacityRange: &csipb.CapacityRange{RequiredBytes: spec.Size},
		VolumeCapabilities: []*csipb.VolumeCapability{v.capability}, Parameters: parameters,
	})
	if err != nil {
		return nil, fmt.Errorf("make a volume: %w", err)
	}
	v.ID, v.context = actors.VolumeID(resp.GetVolume().GetVolumeId()), resp.GetVolume().GetVolumeContext()
	return v, nil
}

// Kind is what users call a volume of this kind.
func (s Spec) Kind() string { return cmp.Or(s.FS, "block") }

func (s Spec) capability() *csipb.VolumeCapability {
	c := &csipb.VolumeCapability{AccessMode: &csipb.VolumeCapability_AccessMode{Mode: csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER}}
	if s.Shared {
		c.AccessMode.Mode = csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	}
	if s.FS == "" {
		c.AccessType = &csipb.VolumeCapability_Block{Block: &csipb.VolumeCapability_BlockVolume{}}
	} else {
		c.AccessType = &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{FsType: s.FS}}
	}
	return c
}

// Staging is where a node has the volume, as kubelet would name it.
func (v *Volume) Staging() string {
	return "/var/lib/kubelet/plugins/kubernetes.io/csi/rds.csi.srvlab.io/" + string(v.ID) + "/globalmount"
}

// Target is where a pod has the volume: a directory, or a block device.
func (v *Volume) Target() string {
	return "/var/lib/kubelet/pods/" + strings.TrimPrefix(string(v.ID), "pvc-") + "/volumes/kubernetes.io~csi/" + string(v.ID) + "/mount"
}

// Data is what a pod writes to: the block device, or a file in the file system.
func (v *Volume) Data() string {
	if v.Spec.FS == "" {
		return v.Target()
	}
	return path.Join(v.Target(), "data")
}

// Grant publishes the volume to a node, as the attacher does, and returns the publish context.
func (v *Volume) Grant(ctx context.Context, n *guest.Node) (map[string]string, error) {
	resp, err := v.stage.Controller().ControllerPublishVolume(ctx, &csipb.ControllerPublishVolumeRequest{
		VolumeId: string(v.ID), NodeId: n.Name(), VolumeCapability: v.capability, VolumeContext: v.context,
	})
	if err != nil {
		return nil, fmt.Errorf("publish %s to %s: %w", v.ID, n.Name(), err)
	}
	return resp.GetPublishContext(), nil
}

// Revoke takes the volume from a node, as the attacher does.
func (v *Volume) Revoke(ctx context.Context, n *guest.Node) error {
	if _, err := v.stage.Controller().ControllerUnpublishVolume(ctx, &csipb.ControllerUnpublishVolumeRequest{
		VolumeId: string(v.ID), NodeId: n.Name(),
	}); err != nil {
		return fmt.Errorf("unpublish %s from %s: %w", v.ID, n.Name(), err)
	}
	return nil
}

// Attach grants the volume to a node and mounts it there, as the attacher and kubelet do for a pod.
func (v *Volume) Attach(ctx context.Context, n *guest.Node) error {
	grant, err := v.Grant(ctx, n)
	if err != nil {
		return err
	}
	return v.Mount(ctx, n, grant)
}

// Mount stages a volume that was granted and publishes it to a pod, as kubelet does.
func (v *Volume) Mount(ctx context.Context, n *guest.Node, grant map[string]string) error {
	if err := v.Stage(ctx, n, grant); err != nil {
		return err
	}
	return v.Publish(ctx, n, grant)
}

// Stage stages a volume that was granted, as kubelet does.
func (v *Volume) Stage(ctx context.Context, n *guest.Node, grant map[string]string) error {
	if err := n.Call(ctx, api.MakeDir, api.Path{Path: v.Staging()}, nil); err != nil {
		return err
	}
	return v.StageAs(ctx, n, v.StageRequest(grant))
}

// StageRequest is what kubelet asks for.
func (v *Volume) StageRequest(grant map[string]string) *csipb.NodeStageVolumeRequest {
	return &csipb.NodeStageVolumeRequest{
		VolumeId: string(v.ID), StagingTargetPath: v.Staging(), VolumeCapability: v.capability, PublishContext: grant, VolumeContext: v.context,
	}
}

// StageAs asks for what a request says, and prepares nothing.
func (v *Volume) StageAs(ctx context.Context, n *guest.Node, r *csipb.NodeStageVolumeRequest) error {
	if _, err := n.Client().NodeStageVolume(ctx, r); err != nil {
		return fmt.Errorf("stage %s on %s: %w", v.ID, n.Name(), err)
	}
	return nil
}

// Publish publishes a volume that is staged to a pod, as kubelet does.
func (v *Volume) Publish(ctx context.Context, n *guest.Node, grant map[string]string) error {
	if err := n.Call(ctx, api.MakeDir, api.Path{Path: path.Dir(v.Target())}, nil); err != nil {
		return err
	}
	if _, err := n.Client().NodePublishVolume(ctx, &csipb.NodePublishVolumeRequest{
		VolumeId: string(v.ID), StagingTargetPath: v.Staging(), TargetPath: v.Target(), VolumeCapability: v.capability,
		PublishContext: grant, VolumeContext: v.context,
	}); err != nil {
		return fmt.Errorf("publish %s on %s: %w", v.ID, n.Name(), err)
	}
	return nil
}

// Unmount takes the volume from the pod and unstages it, as kubelet does.
func (v *Volume) Unmount(ctx context.Context, n *guest.Node) error {
	if err := v.Unpublish(ctx, n); err != nil {
		return err
	}
	return v.Unstage(ctx, n)
}

// Unpublish takes the volume from the pod, as kubelet does.
func (v *Volume) Unpublish(ctx context.Context, n *guest.Node) error {
	if _, err := n.Client().NodeUnpublishVolume(ctx, &csipb.NodeUnpublishVolumeRequest{VolumeId: string(v.ID), TargetPath: v.Target()}); err != nil {
		return fmt.Errorf("unpublish %s on %s: %w", v.ID, n.Name(), err)
	}
	return nil
}

// Unstage unstages the volume, as kubelet does.
func (v *Volume) Unstage(ctx context.Context, n *guest.Node) error {
	if _, err := n.Client().NodeUnstageVolume(ctx, &csipb.NodeUnstageVolumeRequest{VolumeId: string(v.ID), StagingTargetPath: v.Staging()}); err != nil {
		return fmt.Errorf("unstage %s on %s: %w", v.ID, n.Name(), err)
	}
	return nil
}

// Detach undoes Attach.
func (v *Volume) Detach(ctx context.Context, n *guest.Node) error {
	if err := v.Unmount(ctx, n); err != nil {
		return err
	}
	return v.Revoke(ctx, n)
}

// Expand makes the volume larger, on the box and on a node that has it.
func (v *Volume) Expand(ctx context.Context, n *guest.Node, size int64) error {
	if err := v.ExpandBox(ctx, size); err != nil {
		return err
	}
	return v.ExpandNode(ctx, n, size)
}

// ExpandBox makes the volume larger on the box, as the resizer does.
func (v *Volume) ExpandBox(ctx context.Context, size int64) error {
	r := &csipb.CapacityRange{RequiredBytes: size}
	resp, err := v.stage.Controller().ControllerExpandVolume(ctx, &csipb.ControllerExpandVolumeRequest{
		VolumeId: string(v.ID), CapacityRange: r, VolumeCapability: v.capability,
	})
	if err != nil {
		return fmt.Errorf("expand %s: %w", v.ID, err)
	}
	if !resp.GetNodeExpansionRequired() {
		return fmt.Errorf("expand %s: the node is not to be asked", v.ID)
	}
	return nil
}

// ExpandNode lets a node see the volume's new size, as kubelet does.
func (v *Volume) ExpandNode(ctx context.Context, n *guest.Node, size int64) error {
	r := &csipb.CapacityRange{RequiredBytes: size}
	answer, err := n.Client().NodeExpandVolume(ctx, &csipb.NodeExpandVolumeRequest{
		VolumeId: string(v.ID), VolumePath: v.Target(), StagingTargetPath: v.Staging(), CapacityRange: r, VolumeCapability: v.capability,
	})
	if err != nil {
		return fmt.Errorf("expand %s on %s: %w", v.ID, n.Name(), err)
	}
	if answer.GetCapacityBytes() != size {
		return fmt.Errorf("expand %s on %s: it has %d bytes and not %d", v.ID, n.Name(), answer.GetCapacityBytes(), size)
	}
	return nil
}

// Delete deletes the volume.
func (v *Volume) Delete(ctx context.Context) error {
	if _, err := v.stage.Controller().DeleteVolume(ctx, &csipb.DeleteVolumeRequest{VolumeId: string(v.ID)}); err != nil {
		return fmt.Errorf("delete %s: %w", v.ID, err)
	}
	return nil
}
