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

// NodePublishVolume puts a staged volume at a pod's target path: a bind mount of the filesystem, or
// a node of the block device.
func (n *Node) NodePublishVolume(ctx context.Context, req *csipb.NodePublishVolumeRequest) (*csipb.NodePublishVolumeResponse, error) {
	p, err := parsePublish(req)
	if err != nil {
		return nil, err
	}
	return fly(ctx, n.flights, p.volume, req, func(ctx context.Context) (*csipb.NodePublishVolumeResponse, error) {
		return &csipb.NodePublishVolumeResponse{}, n.publish(ctx, p)
	})
}

// publishing is a checked request to publish.
type publishing struct {
	publication
	volume           actors.VolumeID
	staging          string
	context, options map[string]string // publish context and volume context
}

func parsePublish(req *csipb.NodePublishVolumeRequest) (publishing, error) {
	id, err := checkVolumeID(req.GetVolumeId())
	if err != nil {
		return publishing{}, err
	}
	if err := checkPath("target path", req.GetTargetPath()); err != nil {
		return publishing{}, err
	}
	a, err := parseAccess(req.GetVolumeCapability(), req.GetPublishContext())
	if err != nil {
		return publishing{}, err
	}
	if req.GetStagingTargetPath() == "" {
		return publishing{}, fmt.Errorf("staging target path is required, call NodeStageVolume first: %w", actors.ErrPrecondition)
	}
	if err := checkPath("staging target path", req.GetStagingTargetPath()); err != nil {
		return publishing{}, err
	}
	if req.GetTargetPath() == req.GetStagingTargetPath() {
		return publishing{}, fmt.Errorf("target path %s is the staging target path: %w", req.GetTargetPath(), actors.ErrInvalid)
	}
	return publishing{
		publication: publication{Target: req.GetTargetPath(), Access: a, ReadOnly: req.GetReadonly() || a.ReadOnly},
		volume:      id,
		staging:     req.GetStagingTargetPath(),
		context:     req.GetPublishContext(),
		options:     req.GetVolumeContext(),
	}, nil
}

func (n *Node) publish(ctx context.Context, p publishing) error {
	rec, dev, err := n.staged(ctx, p)
	if err != nil {
		return err
	}
	if i := rec.publication(p.Target); i >= 0 && !rec.Published[i].equal(p.publication) {
		return fmt.Errorf("volume %s is published at %s with another volume capability or read-only flag, unpublish it there first: %w", p.volume, p.Target, actors.ErrExists)
	}
	if other := slices.IndexFunc(rec.Published, func(q publication) bool { return q.Target != p.Target }); other >= 0 && !p.Access.manyTargets() {
		return fmt.Errorf("volume %s is published at %s, and access mode %v allows one target path per node; unpublish it there first: %w",
			p.volume, rec.Published[other].Target, p.Access.Mode, actors.ErrPrecondition)
	}
	rec.Boot = n.boot // its device was seen just now
	if rec.publication(p.Target) < 0 {
		rec.Published = append(rec.Published, p.publication)
	}
	// The record comes first: unstage must know of the target whatever happens from here on.
	if err := n.records.save(rec); err != nil {
		return err
	}
	return n.place(ctx, dev, p)
}

func (p publication) equal(q publication) bool {
	return p.Target == q.Target && p.ReadOnly == q.ReadOnly && p.Access.equal(q.Access)
}

// staged returns the record of a staged volume, with the publications that really stand, and its
// device. It is ErrPrecondition if the volume is not staged as the request needs it.
func (n *Node) staged(ctx context.Context, p publishing) (*record, nvme.Device, error) {
	rec, err := n.records.load(p.volume)
	if err != nil {
		return nil, nvme.Device{}, err
	}
	conns, err := n.devices.Connections(ctx, p.volume)
	if err != nil {
		return nil, nvme.Device{}, fmt.Errorf("look for connections of %s: %w", p.volume, err)
	}
	if rec == nil {
		if rec, err = n.adopt(p); err != nil {
			return nil, nvme.Device{}, err
		}
	}
	switch {
	case !rec.Staged || rec.Staging != p.staging:
		return nil, nvme.Device{}, fmt.Errorf("volume %s is not staged at %s, call NodeStageVolume first: %w", p.volume, p.staging, actors.ErrPrecondition)
	case rec.Access.Block != p.Access.Block || rec.Access.FS != p.Access.FS:
		return nil, nvme.Device{}, fmt.Errorf("volume %s is staged with another volume capability, unstage it first: %w", p.volume, actors.ErrPrecondition)
	case rec.Access.ReadOnly && !p.ReadOnly:
		return nil, nvme.Device{}, fmt.Errorf("volume %s is staged read-only and cannot be published for writing, unstage it first: %w", p.volume, actors.ErrPrecondition)
	}
	if rec.Published, err = n.standing(ctx, rec, conns); err != nil {
		return nil, nvme.Device{}, err
	}
	dev, err := n.stagedDevice(ctx, rec, conns)
	return rec, dev, err
}

// adopt makes a record of a volume that somebody else staged, as the older driver did, from the
// contexts of the request. Whether the volume is staged at all is for the caller to see.
func (n *Node) adopt(p publishing) (*record, error) {
	t, err := parseTarget(p.volume, n.host, p.context, p.options)
	if err != nil {
		return nil, fmt.Errorf("volume %s has no record on this node: %w", p.volume, err)
	}
	return &record{Volume: p.volume, NQN: t.NQN, Size: t.Size, Staging: p.staging, Staged: true, Access: p.Access, Target: reachOf(p.volume, t, p.options)}, nil
}

// stagedDevice returns the device that the record's volume is connected as, and checks that the
// filesystem at the staging path is that device's.
func (n *Node) stagedDevice(ctx context.Context, rec *record, conns []nvme.Connection) (nvme.Device, error) {
	i := slices.IndexFunc(conns, func(c nvme.Connection) bool { return c.NQN == rec.NQN })
	switch {
	case i < 0:
		return nvme.Device{}, fmt.Errorf("volume %s is not connected, call NodeStageVolume first: %w", rec.Volume, actors.ErrPrecondition)
	case conns[i].Device.Path == "" || conns[i].State == nvme.StateGone:
		return nvme.Device{}, fmt.Errorf("connection of %s is %s and has lost its device, unstage and stage it again: %w", rec.Volume, conns[i].State, actors.ErrUnavailable)
	case conns[i].Ambiguous:
		return nvme.Device{}, fmt.Errorf("subsystem %s shows several block devices, which of them is volume %s cannot be told: %w", rec.NQN, rec.Volume, actors.ErrPrecondition)
	}
	dev := conns[i].Device
	if dev.Size < rec.Size {
		return nvme.Device{}, fmt.Errorf("device %s of %s has %d bytes, published were %d: %w", dev.Path, rec.Volume, dev.Size, rec.Size, actors.ErrPrecondition)
	}
	if rec.Access.Block {
		return dev, nil
	}
	entry, err := n.mounts.Inspect(ctx, rec.Staging)
	if err != nil {
		return nvme.Device{}, fmt.Errorf("inspect staging path %s: %w", rec.Staging, err)
	}
	if !entry.Mounted || entry.Num != dev.Num {
		return nvme.Device{}, fmt.Errorf("staging path %s does not have device %s of volume %s mounted, unstage and stage it again: %w", rec.Staging, dev.Num, rec.Volume, actors.ErrPrecondition)
	}
	return dev, nil
}

// place makes the target path show the device, unless it does.
func (n *Node) place(ctx context.Context, dev nvme.Device, p publishing) error {
	entry, err := n.mounts.Inspect(ctx, p.Target)
	if err != nil {
		return fmt.Errorf("inspect target path %s: %w", p.Target, err)
	}
	if p.Access.Block {
		return n.placeBlock(ctx, dev, p, entry)
	}
	switch {
	case entry.Mounted && entry.Num == dev.Num && entry.ReadOnly == p.ReadOnly:
		return nil
	case entry.Mounted && entry.Num == dev.Num:
		return fmt.Errorf("target path %s is mounted with read-only=%t, unpublish it first: %w", p.Target, entry.ReadOnly, actors.ErrExists)
	case entry.Mounted && entry.Stale:
		if err := n.unmountStale(ctx, p.volume, p.Target, entry); err != nil {
			return err
		}
	case entry.Mounted, entry.Kind == nvme.KindBlock, entry.Kind == nvme.KindOther:
		return fmt.Errorf("target path %s is taken by something else, remove it: %w", p.Target, actors.ErrPrecondition)
	}
	if err := n.mounts.Bind(ctx, p.staging, p.Target, p.ReadOnly); err != nil {
		return fmt.Errorf("bind %s to %s: %w", p.volume, p.Target, err)
	}
	return nil
}

func (n *Node) placeBlock(ctx context.Context, dev nvme.Device, p publishing, entry nvme.Entry) error {
	switch {
	case entry.Kind == nvme.KindNone:
	case entry.Kind == nvme.KindBlock && entry.Num == dev.Num && (entry.Mounted || entry.ReadOnly == p.ReadOnly):
		// Mounted is how the older driver published: a bind mount of the device node.
		return nil
	case entry.Kind == nvme.KindBlock && !entry.Mounted:
		// Left over from before a reboot or a lost connection, or made with another mode.
		n.log.WarnContext(ctx, "replacing a device node", "volume-id", string(p.volume), "path", p.Target, "found", entry.Num, "wanted", dev.Num)
		if err := removePath(p.Target); err != nil {
			return err
		}
	default:
		return fmt.Errorf("target path %s is taken by something else, remove it: %w", p.Target, actors.ErrPrecondition)
	}
	if err := n.mounts.MakeNode(ctx, dev, p.Target, p.ReadOnly); err != nil {
		return fmt.Errorf("make a node of %s at %s: %w", p.volume, p.Target, err)
	}
	return nil
}

// NodeUnpublishVolume takes the volume from a target path and deletes the path.
func (n *Node) NodeUnpublishVolume(ctx context.Context, req *csipb.NodeUnpublishVolumeRequest) (*csipb.NodeUnpublishVolumeResponse, error) {
	id, err := checkVolumeID(req.GetVolumeId())
	if err == nil {
		err = checkPath("target path", req.GetTargetPath())
	}
	if err != nil {
		return nil, err
	}
	return fly(ctx, n.flights, id, req, func(ctx context.Context) (*csipb.NodeUnpublishVolumeResponse, error) {
		return &csipb.NodeUnpublishVolumeResponse{}, n.unpublish(ctx, id, req.GetTargetPath())
	})
}

func (n *Node) unpublish(ctx context.Context, id actors.VolumeID, target string) error {
	rec, err := n.records.load(id)
	if err != nil {
		return err
	}
	if rec != nil && rec.Staging == target {
		return fmt.Errorf("target path %s is where volume %s is staged: %w", target, id, actors.ErrInvalid)
	}
	entry, err := n.mounts.Inspect(ctx, target)
	if err != nil {
		return fmt.Errorf("inspect target path %s: %w", target, err)
	}
	if entry.Mounted {
		if err := n.mounts.Unmount(ctx, target); err != nil {
			return fmt.Errorf("unmount %s from %s: %w", id, target, err)
		}
	}
	if err := removePath(target); err != nil {
		return err
	}
	if rec == nil || rec.publication(target) < 0 {
		return nil
	}
	rec.Published = slices.DeleteFunc(rec.Published, func(p publication) bool { return p.Target == target })
	return n.records.save(rec)
}
