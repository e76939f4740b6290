// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csitest

import (
	"context"
	"strconv"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/status"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
)

// Kubelet does with one volume what a node's kubelet does, for tests that have a kernel to show and
// no CSI types.
type Kubelet struct {
	Node    csipb.NodeServer
	Volume  actors.VolumeID
	Staging string // staging target path
	Target  string // target path
	FS      string // ext4 or xfs; empty: a block volume
	Flags   []string

	// What the controller publishes.
	NQN     string
	Address string
	Port    uint16
	Host    actors.Host
	Size    int64
}

func (k *Kubelet) capability() *csipb.VolumeCapability {
	c := &csipb.VolumeCapability{AccessMode: &csipb.VolumeCapability_AccessMode{Mode: csipb.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER}}
	if k.FS == "" {
		c.AccessType = &csipb.VolumeCapability_Block{Block: &csipb.VolumeCapability_BlockVolume{}}
	} else {
		c.AccessType = &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{FsType: k.FS, MountFlags: k.Flags}}
	}
	return c
}

func (k *Kubelet) context() map[string]string {
	return map[string]string{
		"nvme_address": k.Address, "nvme_port": strconv.Itoa(int(k.Port)), "nvme_nqn": k.NQN,
		"nvme_host_nqn": k.Host.NQN, "nvme_host_id": k.Host.ID, "size_bytes": strconv.FormatInt(k.Size, 10),
	}
}

// Stage stages the volume.
func (k *Kubelet) Stage(ctx context.Context) error {
	_, err := k.Node.NodeStageVolume(ctx, &csipb.NodeStageVolumeRequest{
		VolumeId: string(k.Volume), StagingTargetPath: k.Staging, VolumeCapability: k.capability(), PublishContext: k.context(),
	})
	return err
}

// Publish publishes it.
func (k *Kubelet) Publish(ctx context.Context) error {
	_, err := k.Node.NodePublishVolume(ctx, &csipb.NodePublishVolumeRequest{
		VolumeId: string(k.Volume), StagingTargetPath: k.Staging, TargetPath: k.Target, VolumeCapability: k.capability(), PublishContext: k.context(),
	})
	return err
}

// Unpublish takes it from the target path.
func (k *Kubelet) Unpublish(ctx context.Context) error {
	_, err := k.Node.NodeUnpublishVolume(ctx, &csipb.NodeUnpublishVolumeRequest{VolumeId: string(k.Volume), TargetPath: k.Target})
	return err
}

// Unstage unstages it.
func (k *Kubelet) Unstage(ctx context.Context) error {
	_, err := k.Node.NodeUnstageVolume(ctx, &csipb.NodeUnstageVolumeRequest{VolumeId: string(k.Volume), StagingTargetPath: k.Staging})
	return err
}

// Expand expands it to at least so many bytes, 0 for whatever there is, and returns its size.
func (k *Kubelet) Expand(ctx context.Context, size int64) (int64, error) {
	resp, err := k.Node.NodeExpandVolume(ctx, &csipb.NodeExpandVolumeRequest{
		VolumeId: string(k.Volume), VolumePath: k.Target, StagingTargetPath: k.Staging, VolumeCapability: k.capability(),
		CapacityRange: &csipb.CapacityRange{RequiredBytes: size},
	})
	return resp.GetCapacityBytes(), err
}

// Health returns the reasons why the volume is not well.
func (k *Kubelet) Health(ctx context.Context) ([]string, error) {
	resp, err := k.Node.NodeGetVolumeHealth(ctx, &csipb.NodeGetVolumeHealthRequest{
		VolumeId: string(k.Volume), StagingTargetPath: k.Staging, VolumePublishPath: k.Target,
	})
	var reasons []string
	for _, e := range resp.GetVolumeHealth().GetHealthStatuses() {
		reasons = append(reasons, e.GetReason())
	}
	return reasons, err
}

// Code returns the name of the gRPC code that a CO gets for an error.
func Code(err error) string { return status.Code(csi.Status(err)).String() }
