// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"fmt"
	"slices"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

func checkVolumePath(volume, path string) (actors.VolumeID, error) {
	id, err := checkVolumeID(volume)
	if err != nil {
		return "", err
	}
	if path == "" {
		return "", fmt.Errorf("volume path is required: %w", actors.ErrInvalid)
	}
	return id, nil
}

func errNotThere(id actors.VolumeID, path string) error {
	return fmt.Errorf("volume %s is not at %.256q on this node: %w", id, path, actors.ErrNotFound)
}

// at finds out what of the volume is at a path. It is ErrNotFound unless the path shows one of
// the volume's devices, which no malformed path does.
func (n *Node) at(ctx context.Context, id actors.VolumeID, path string) (nvme.Connection, nvme.Entry, error) {
	nothing := errNotThere(id, path)
	if checkPath("volume path", path) != nil {
		return nvme.Connection{}, nvme.Entry{}, nothing
	}
	conns, err := n.devices.Connections(ctx, id)
	if err != nil {
		return nvme.Connection{}, nvme.Entry{}, fmt.Errorf("look for connections of %s: %w", id, err)
	}
	if len(conns) == 0 {
		return nvme.Connection{}, nvme.Entry{}, nothing
	}
	entry, err := n.mounts.Inspect(ctx, path)
	if err != nil {
		return nvme.Connection{}, nvme.Entry{}, fmt.Errorf("inspect volume path %s: %w", path, err)
	}
	i := slices.IndexFunc(conns, func(c nvme.Connection) bool { return c.Device.Path != "" && c.Device.Num == entry.Num })
	if i < 0 || (!entry.Mounted && entry.Kind != nvme.KindBlock) {
		return nvme.Connection{}, nvme.Entry{}, nothing
	}
	return conns[i], entry, nil
}

// NodeExpandVolume makes the kernel see a volume's new size and grows the filesystem on it. It never
// shrinks anything.
func (n *Node) NodeExpandVolume(ctx context.Context, req *csipb.NodeExpandVolumeRequest) (*csipb.NodeExpandVolumeResponse, error) {
	id, err := checkExpand(req)
	if err != nil {
		return nil, err
	}
	return fly(ctx, n.flights, id, req, func(ctx context.Context) (*csipb.NodeExpandVolumeResponse, error) {
		return n.expand(ctx, id, req)
	})
}

func checkExpand(req *csipb.NodeExpandVolumeRequest) (actors.VolumeID, error) {
	id, err := checkVolumePath(req.GetVolumeId(), req.GetVolumePath())
	if err != nil {
		return "", err
	}
	if c := req.GetVolumeCapability(); c != nil {
		if _, err := parseAccess(c, nil); err != nil {
			return "", err
		}
	}
	need, limit := req.GetCapacityRange().GetRequiredBytes(), req.GetCapacityRange().GetLimitBytes()
	if need < 0 || limit < 0 || (limit > 0 && limit < need) {
		return "", fmt.Errorf("capacity range from %d to %d bytes is empty: %w", need, limit, actors.ErrOutOfRange)
	}
	return id, nil
}

func (n *Node) expand(ctx context.Context, id actors.VolumeID, req *csipb.NodeExpandVolumeRequest) (*csipb.NodeExpandVolumeResponse, error) {
	rec, err := n.records.load(id)
	if err != nil {
		return nil, err
	}
	nqn, mounted, err := n.expandable(ctx, id, req.GetVolumePath(), rec)
	if err != nil {
		return nil, err
	}
	if c := req.GetVolumeCapability(); c != nil && (c.GetBlock() != nil) != (mounted == "") {
		return nil, fmt.Errorf("volume %s has another access type than the volume capability: %w", id, actors.ErrInvalid)
	}
	need, limit := req.GetCapacityRange().GetRequiredBytes(), req.GetCapacityRange().GetLimitBytes()
	if rec != nil { // a volume never shrinks, whatever the kernel takes a namespace for
		need = max(need, rec.Size)
	}
	dev, err := n.devices.Rescan(ctx, nqn, need)
	if err != nil {
		return nil, fmt.Errorf("rescan %s: %w", id, err)
	}
	if rec != nil && rec.NQN == nqn && dev.Size > rec.Size {
		rec.Size = dev.Size
		if err := n.records.save(rec); err != nil {
			return nil, err
		}
	}
	if limit > 0 && dev.Size > limit {
		return nil, fmt.Errorf("volume %s has %d bytes, more than the limit of %d: %w", id, dev.Size, limit, actors.ErrOutOfRange)
	}
	if mounted != "" {
		if err := n.filesystems.Grow(ctx, dev, mounted); err != nil {
			return nil, fmt.Errorf("grow the filesystem of %s: %w", id, err)
		}
	}
	return &csipb.NodeExpandVolumeResponse{CapacityBytes: dev.Size}, nil
}

// expandable returns the NQN of the volume at a path and where its filesystem is mounted for
// writing; of a block volume that is "". A block volume's staging path is a mere directory, which
// only the record can tell.
func (n *Node) expandable(ctx context.Context, id actors.VolumeID, path string, rec *record) (nqn, mounted string, err error) {
	if rec != nil && rec.Staged && rec.Access.Block && path == rec.Staging {
		return rec.NQN, "", nil
	}
	conn, entry, err := n.at(ctx, id, path)
	if err != nil {
		return "", "", err
	}
	if entry.Kind == nvme.KindBlock {
		return conn.NQN, "", nil
	}
	if rec == nil || rec.Staging == path {
		return conn.NQN, path, writable(id, path, entry)
	}
	// A pod's path may be read-only where the staging path is not.
	staged, err := n.mounts.Inspect(ctx, rec.Staging)
	if err != nil {
		return "", "", fmt.Errorf("inspect staging path %s: %w", rec.Staging, err)
	}
	if !staged.Mounted || staged.Num != entry.Num {
		return conn.NQN, path, writable(id, path, entry)
	}
	return conn.NQN, rec.Staging, writable(id, rec.Staging, staged)
}

func writable(id actors.VolumeID, path string, entry nvme.Entry) error {
	if entry.ReadOnly {
		return fmt.Errorf("volume %s is mounted read-only at %s and cannot grow there, mount it for writing: %w", id, path, actors.ErrPrecondition)
	}
	return nil
}
