// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"fmt"
	"os"
	"slices"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

// NodeStageVolume connects the volume's subsystem and, for a filesystem, mounts it at the staging
// path, after making it if the device is blank.
func (n *Node) NodeStageVolume(ctx context.Context, req *csipb.NodeStageVolumeRequest) (*csipb.NodeStageVolumeResponse, error) {
	s, err := n.parseStage(req)
	if err != nil {
		return nil, err
	}
	return fly(ctx, n.flights, s.volume, req, func(ctx context.Context) (*csipb.NodeStageVolumeResponse, error) {
		return &csipb.NodeStageVolumeResponse{}, n.stage(ctx, s)
	})
}

// staging is a checked request to stage.
type staging struct {
	volume actors.VolumeID
	path   string
	access access
	target nvme.Target
	reach  *reach
}

func (n *Node) parseStage(req *csipb.NodeStageVolumeRequest) (staging, error) {
	id, err := checkVolumeID(req.GetVolumeId())
	if err != nil {
		return staging{}, err
	}
	if err := checkPath("staging target path", req.GetStagingTargetPath()); err != nil {
		return staging{}, err
	}
	a, err := parseAccess(req.GetVolumeCapability(), req.GetPublishContext())
	if err != nil {
		return staging{}, err
	}
	t, err := parseTarget(id, n.host, req.GetPublishContext(), req.GetVolumeContext())
	if err != nil {
		return staging{}, err
	}
	t.ReadOnly = a.ReadOnly
	return staging{volume: id, path: req.GetStagingTargetPath(), access: a, target: t, reach: reachOf(id, t, req.GetVolumeContext())}, nil
}

func (n *Node) stage(ctx context.Context, s staging) error {
	old, err := n.records.load(s.volume)
	if err != nil {
		return err
	}
	conns, err := n.devices.Connections(ctx, s.volume)
	if err != nil {
		return fmt.Errorf("look for connections of %s: %w", s.volume, err)
	}
	if err := n.checkStaging(ctx, conns, s); err != nil {
		return err
	}
	rec, err := n.reconcile(ctx, old, conns, s)
	if err != nil {
		return err
	}
	// The record comes first: whatever is connected from here on must be found again to be
	// disconnected.
	if err := n.records.save(rec); err != nil {
		return err
	}
	// A connection without a record is somebody else's, as the older driver's.
	others := old == nil && slices.ContainsFunc(conns, func(c nvme.Connection) bool { return c.NQN == rec.NQN })
	fresh := !rec.Staged && len(rec.Published) == 0 && !others
	err = n.attach(ctx, rec, s)
	if err != nil && fresh && final(err) {
		return n.giveUp(ctx, s, err)
	}
	return err
}

// checkStaging refuses a staging path that cannot be used, before anything is done.
func (n *Node) checkStaging(ctx context.Context, conns []nvme.Connection, s staging) error {
	if s.access.Block {
		return nil
	}
	entry, err := n.mounts.Inspect(ctx, s.path)
	switch {
	case err != nil:
		return fmt.Errorf("inspect staging path %s: %w", s.path, err)
	case entry.Mounted && !entry.Stale && !hasDevice(conns, entry.Num):
		return fmt.Errorf("staging path %s has device %s mounted, which is not of volume %s; unmount it: %w", s.path, entry.Num, s.volume, actors.ErrPrecondition)
	case !entry.Mounted && entry.Kind != nvme.KindDir:
		return fmt.Errorf("staging path %s is not a directory, create it: %w", s.path, actors.ErrPrecondition)
	}
	return nil
}

// giveUp undoes a first attempt to stage that failed for good. After a final code kubelet takes the
// volume for not staged and does not unstage it, so that a connection would stay for ever.
func (n *Node) giveUp(ctx context.Context, s staging, failure error) error {
	err := n.devices.Disconnect(ctx, s.target.NQN)
	if err == nil {
		err = n.records.remove(s.volume)
	}
	if err != nil {
		return fmt.Errorf("%s; giving up what was begun: %s: %w", failure.Error(), err.Error(), actors.ErrUnavailable)
	}
	return failure
}

// attach connects the volume and puts its filesystem at the staging path.
func (n *Node) attach(ctx context.Context, rec *record, s staging) error {
	s.target.Size = rec.Size
	dev, err := n.devices.Connect(ctx, s.target)
	if err != nil {
		return fmt.Errorf("connect %s: %w", s.volume, err)
	}
	if dev.Size < s.target.Size {
		return fmt.Errorf("device %s of %s has %d bytes, published were %d; nothing was touched: %w", dev.Path, s.volume, dev.Size, s.target.Size, actors.ErrPrecondition)
	}
	if !s.access.Block {
		if err := n.mountStaging(ctx, dev, s, rec); err != nil {
			return err
		}
		rec.Content = n.identify(ctx, s.volume, dev)
	}
	rec.Staged, rec.Formatting = true, false
	return n.records.save(rec)
}

// identify returns which filesystem was staged, so that after a lost connection no other is taken for it. It is
// empty where that cannot be read: then nothing is repaired.
func (n *Node) identify(ctx context.Context, id actors.VolumeID, dev nvme.Device) string {
	content, err := n.filesystems.Identify(ctx, dev)
	if err != nil {
		n.log.WarnContext(ctx, "the filesystem that was staged cannot be told from others", "volume-id", string(id), "error", err)
	}
	return content
}

// reconcile compares a request to stage with what an earlier one left on this node. It clears away
// what no one uses, fails where the rest contradicts the request, and returns the record to begin
// with.
func (n *Node) reconcile(ctx context.Context, old *record, conns []nvme.Connection, s staging) (*record, error) {
	rec := &record{Volume: s.volume, NQN: s.target.NQN, Size: s.target.Size, Staging: s.path, Access: s.access, Boot: n.boot, Target: s.reach}
	if old != nil {
		if err := n.carryOver(ctx, rec, old, conns, s); err != nil {
			return nil, err
		}
	}
	for _, c := range conns {
		if c.NQN == s.target.NQN {
			continue
		}
		if !s.access.Block {
			if err := n.unmountOld(ctx, c, s.path); err != nil {
				return nil, err
			}
		}
		if err := n.devices.Disconnect(ctx, c.NQN); err != nil {
			return nil, fmt.Errorf("give up the earlier attachment %s of %s: %w", c.NQN, s.volume, err)
		}
	}
	return rec, nil
}

// carryOver takes into a new record what still stands of the old one.
func (n *Node) carryOver(ctx context.Context, rec, old *record, conns []nvme.Connection, s staging) error {
	published, err := n.standing(ctx, old, conns)
	if err != nil {
		return err
	}
	used, err := n.inUse(ctx, old, conns)
	if err != nil {
		return err
	}
	if used || len(published) > 0 {
		if err := compatible(old, published, s); err != nil {
			return err
		}
	}
	rec.Size = max(rec.Size, old.Size) // it may have been expanded since it was published
	rec.Published = published
	if rec.Staged = old.Staged && used && old.NQN == rec.NQN; rec.Staged {
		rec.Content = old.Content
	}
	rec.Formatting = unfinished(old, rec)
	return nil
}

// compatible reports what in a request to stage contradicts a volume that is in use.
func compatible(old *record, published []publication, s staging) error {
	switch {
	case old.Staging != s.path:
		return fmt.Errorf("volume %s is staged at %s, unstage it there first: %w", s.volume, old.Staging, actors.ErrPrecondition)
	case !old.Access.equal(s.access):
		return fmt.Errorf("volume %s is staged at %s with another volume capability, unstage it first: %w", s.volume, s.path, actors.ErrExists)
	case old.NQN != s.target.NQN && len(published) > 0:
		return fmt.Errorf("volume %s is still published at %s under its earlier attachment %s, delete the pods that use it there: %w",
			s.volume, published[0].Target, old.NQN, actors.ErrPrecondition)
	}
	return nil
}

// inUse reports whether what the record tells is really on the node: after a reboot it is not.
func (n *Node) inUse(ctx context.Context, rec *record, conns []nvme.Connection) (bool, error) {
	if rec.Access.Block {
		return slices.ContainsFunc(conns, func(c nvme.Connection) bool { return c.NQN == rec.NQN }), nil
	}
	entry, err := n.mounts.Inspect(ctx, rec.Staging)
	if err != nil {
		return false, fmt.Errorf("inspect staging path %s: %w", rec.Staging, err)
	}
	return entry.Mounted && !entry.Stale && hasDevice(conns, entry.Num), nil
}

// unmountOld takes the filesystem of an earlier attachment from the staging path.
func (n *Node) unmountOld(ctx context.Context, c nvme.Connection, path string) error {
	entry, err := n.mounts.Inspect(ctx, path)
	if err != nil {
		return fmt.Errorf("inspect staging path %s: %w", path, err)
	}
	if !entry.Mounted || (!entry.Stale && !hasDevice([]nvme.Connection{c}, entry.Num)) {
		return nil
	}
	if err := n.mounts.Unmount(ctx, path); err != nil {
		return fmt.Errorf("unmount the earlier attachment from %s: %w", path, err)
	}
	return nil
}

// standing returns the publications of a record that are really there. The device nodes among the
// others are removed: their number may belong to another volume by now.
func (n *Node) standing(ctx context.Context, rec *record, conns []nvme.Connection) ([]publication, error) {
	var there []publication
	for _, p := range rec.Published {
		entry, err := n.mounts.Inspect(ctx, p.Target)
		if err != nil {
			return nil, fmt.Errorf("inspect target path %s: %w", p.Target, err)
		}
		switch {
		case entry.Mounted && !p.Access.Block, entry.Kind == nvme.KindBlock && hasDevice(conns, entry.Num):
			there = append(there, p)
		case entry.Kind == nvme.KindBlock && !entry.Mounted:
			n.log.WarnContext(ctx, "removing a device node that is not this volume's any more", "volume-id", string(rec.Volume), "path", p.Target, "device", entry.Num)
			if err := removePath(p.Target); err != nil {
				return nil, err
			}
		}
	}
	return there, nil
}

func hasDevice(conns []nvme.Connection, num nvme.DevNum) bool {
	return slices.ContainsFunc(conns, func(c nvme.Connection) bool { return c.Device.Path != "" && c.Device.Num == num })
}

// mountStaging mounts the device at the staging path, unless it is mounted there.
func (n *Node) mountStaging(ctx context.Context, dev nvme.Device, s staging, rec *record) error {
	entry, err := n.mounts.Inspect(ctx, s.path)
	if err != nil {
		return fmt.Errorf("inspect staging path %s: %w", s.path, err)
	}
	switch {
	case entry.Mounted && entry.Num == dev.Num && entry.ReadOnly == s.access.ReadOnly:
		return nil
	case entry.Mounted && entry.Num == dev.Num:
		return fmt.Errorf("volume %s is mounted at %s with read-only=%t, unstage it first: %w", s.volume, s.path, entry.ReadOnly, actors.ErrExists)
	case entry.Mounted && entry.Stale:
		if err := n.unmountStale(ctx, s.volume, s.path, entry); err != nil {
			return err
		}
	case entry.Mounted:
		return fmt.Errorf("staging path %s has device %s mounted, which is not %s of volume %s; unmount it: %w", s.path, entry.Num, dev.Num, s.volume, actors.ErrPrecondition)
	}
	if err := n.mounts.Mount(ctx, dev, s.path, n.filesystem(rec, s)); err != nil {
		return fmt.Errorf("mount %s at %s: %w", s.volume, s.path, err)
	}
	return nil
}

// unmountStale takes down a mount whose device is gone.
func (n *Node) unmountStale(ctx context.Context, id actors.VolumeID, path string, entry nvme.Entry) error {
	n.log.WarnContext(ctx, "unmounting a filesystem whose device is gone", "volume-id", string(id), "path", path, "device", entry.Num)
	err := n.mounts.Unmount(ctx, path)
	n.staleMount(err)
	if err != nil {
		return fmt.Errorf("unmount what is left of a lost device from %s: %w", path, err)
	}
	return nil
}

// NodeUnstageVolume unmounts the volume from the staging path and disconnects its subsystem. When it
// answers OK, this node has no connection left that could write to the volume.
func (n *Node) NodeUnstageVolume(ctx context.Context, req *csipb.NodeUnstageVolumeRequest) (*csipb.NodeUnstageVolumeResponse, error) {
	id, err := checkVolumeID(req.GetVolumeId())
	if err == nil {
		err = checkPath("staging target path", req.GetStagingTargetPath())
	}
	if err != nil {
		return nil, err
	}
	return fly(ctx, n.flights, id, req, func(ctx context.Context) (*csipb.NodeUnstageVolumeResponse, error) {
		return &csipb.NodeUnstageVolumeResponse{}, n.unstage(ctx, id, req.GetStagingTargetPath())
	})
}

func (n *Node) unstage(ctx context.Context, id actors.VolumeID, path string) error {
	rec, err := n.records.load(id)
	if err != nil {
		return err
	}
	// Without a record too: the older driver, or a lost state directory, may have left a connection.
	conns, err := n.devices.Connections(ctx, id)
	if err != nil {
		return fmt.Errorf("look for connections of %s: %w", id, err)
	}
	paths := []string{path}
	if rec != nil {
		published, err := n.standing(ctx, rec, conns)
		if err != nil {
			return err
		}
		if len(published) > 0 {
			return fmt.Errorf("volume %s is still published at %s, unpublish it first: %w", id, published[0].Target, actors.ErrPrecondition)
		}
		if rec.Staging != path && !rec.Access.Block {
			paths = append(paths, rec.Staging)
		}
	}
	for _, p := range paths {
		if err := n.unmountStaging(ctx, id, p, conns); err != nil {
			return err
		}
	}
	for _, c := range conns {
		if err := n.devices.Disconnect(ctx, c.NQN); err != nil {
			return fmt.Errorf("disconnect %s: %w", c.NQN, err)
		}
	}
	return n.records.remove(id)
}

// unmountStaging unmounts the volume's filesystem from a staging path, and nothing else's.
func (n *Node) unmountStaging(ctx context.Context, id actors.VolumeID, path string, conns []nvme.Connection) error {
	entry, err := n.mounts.Inspect(ctx, path)
	if err != nil {
		return fmt.Errorf("inspect staging path %s: %w", path, err)
	}
	if !entry.Mounted {
		return nil
	}
	if !entry.Stale && !hasDevice(conns, entry.Num) {
		return fmt.Errorf("staging path %s has device %s mounted, which is not of volume %s; unmount it: %w", path, entry.Num, id, actors.ErrPrecondition)
	}
	if err := n.mounts.Unmount(ctx, path); err != nil {
		return fmt.Errorf("unmount %s from %s: %w", id, path, err)
	}
	return nil
}

// removePath deletes what publishing made: a device node, an empty directory or an empty file.
func removePath(path string) error {
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		return fmt.Errorf("target path %s is a file with content, which no publishing made; move it away: %w", path, actors.ErrPrecondition)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove target path: %w", err)
	}
	return nil
}
