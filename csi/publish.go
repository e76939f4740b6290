// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
)

// ControllerPublishVolume grants the volume to a node. A repeat writes nothing and answers the same
// publish context.
//
// The field readonly is not offered (PUBLISH_READONLY): a CO leaves it false. With a read-only
// access mode it asks for nothing more and is accepted; with a writing one it is refused, since
// nothing would keep it.
func (c *Controller) ControllerPublishVolume(ctx context.Context, req *csipb.ControllerPublishVolumeRequest) (*csipb.ControllerPublishVolumeResponse, error) {
	if err := c.checkReady(); err != nil {
		return nil, err
	}
	id, err := checkVolumeID(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	node, err := checkNodeID(req.GetNodeId())
	if err != nil {
		return nil, err
	}
	use, err := parseCapability(req.GetVolumeCapability())
	if err != nil {
		return nil, err
	}
	if req.GetReadonly() && !use.readOnly {
		return nil, fmt.Errorf("readonly with a writing access mode is not supported: use ReadOnlyMany: %w", actors.ErrInvalid)
	}
	if err := c.checkVolumeContext(id, use, req.GetVolumeContext()); err != nil {
		return nil, err
	}
	policy, err := actors.ParsePolicy(req.GetVolumeContext()[keyRWXPolicy])
	if err != nil {
		return nil, fmt.Errorf("volume_context %s: %w", keyRWXPolicy, err)
	}
	v, err := c.cfg.Volumes.Publish(ctx, id, node, use.access, policy)
	if err != nil {
		return nil, err
	}
	return c.publishResponse(v, node, use, req.GetVolumeContext())
}

// checkVolumeContext refuses a volume context that cannot be this volume's. Keys that this driver
// does not know are left alone: Kubernetes and older drivers add some.
func (c *Controller) checkVolumeContext(id actors.VolumeID, use usage, m map[string]string) error {
	if a := m[keyRDSAddress]; a != "" && !c.servesAddress(a) {
		return fmt.Errorf("volume %s is on the box %.64q, this controller serves %s: if that is the same box, give that address in --rds-aliases: %w", id, a, c.cfg.BoxAddress, actors.ErrInvalid)
	}
	if nqn := m[keyNQN]; nqn != "" {
		if _, ok := actors.NQNPrefix(nqn, id); !ok {
			return fmt.Errorf("volume_context %s %.64q is not the one of volume %s: %w", keyNQN, nqn, id, actors.ErrInvalid)
		}
	}
	if a := m[keyNVMeAddress]; a != "" {
		if err := checkAddress(a); err != nil {
			return fmt.Errorf("volume_context %s: %w", keyNVMeAddress, err)
		}
	}
	return checkContent(id, use, m)
}

// checkContent refuses to use a volume as what it was not made: a VM's disk is not formatted, and a
// filesystem is not handed out as a raw disk. A context without fencing is the older driver's, which
// does not tell.
func checkContent(id actors.VolumeID, use usage, m map[string]string) error {
	switch fs := m[keyFSType]; {
	case fs == "" && m[keyFencing] == "":
		return nil
	case fs == "" && !use.block:
		return fmt.Errorf("volume %s was made as a block device: set volumeMode: Block: %w", id, actors.ErrInvalid)
	case fs == "":
		return nil
	case use.block:
		return fmt.Errorf("volume %s was made for a filesystem, %.32s: set volumeMode: Filesystem: %w", id, fs, actors.ErrInvalid)
	case checkFSType(fs) != nil:
		return fmt.Errorf("volume_context %s: %w", keyFSType, checkFSType(fs))
	case use.fsType != "" && use.fsType != fs:
		return fmt.Errorf("volume %s holds %s, asked for is %s: ask for %s: %w", id, fs, use.fsType, fs, actors.ErrInvalid)
	}
	return nil
}

// publishResponse tells the node how to connect. All of it comes from the volume's row and from what
// never changes about the volume, so that a repeat says the same; only an expansion changes it.
func (c *Controller) publishResponse(v actors.Volume, node actors.NodeID, use usage, m map[string]string) (*csipb.ControllerPublishVolumeResponse, error) {
	if _, ok := actors.NQNPrefix(v.NQN, v.ID); !ok || v.Port == 0 {
		return nil, fmt.Errorf("volume %s is granted, but its disk has the NQN %.64q and port %d: repair the disk's row: %w", v.ID, v.NQN, v.Port, actors.ErrUnavailable)
	}
	host := actors.HostOf(c.cfg.Cluster, node)
	out := map[string]string{
		publishAddress: c.nvmeAddress(m),
		publishPort:    strconv.Itoa(int(v.Port)),
		publishNQN:     v.NQN,
		publishHostNQN: host.NQN,
		publishHostID:  host.ID,
		publishSize:    strconv.FormatInt(v.Size, 10),
		publishAccess:  accessReadWrite,
	}
	if use.readOnly {
		out[publishAccess] = accessReadOnly
	}
	if !use.block {
		out[publishFSType] = cmp.Or(use.fsType, m[keyFSType], defaultFSType)
	}
	return &csipb.ControllerPublishVolumeResponse{PublishContext: out}, nil
}

// nvmeAddress is where the volume is served: at the address in its context, unless that is one that
// the box had formerly.
func (c *Controller) nvmeAddress(m map[string]string) string {
	a := m[keyNVMeAddress]
	if a == "" || c.servesAddress(a) {
		return c.cfg.NVMeAddress
	}
	return a
}
