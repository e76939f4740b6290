// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"fmt"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

// NodeGetVolumeHealth tells what is wrong with a volume on this node, as far as the kernel knows. It
// asks no target, so that it answers while the box is away, and runs beside other operations.
func (n *Node) NodeGetVolumeHealth(ctx context.Context, req *csipb.NodeGetVolumeHealthRequest) (*csipb.NodeGetVolumeHealthResponse, error) {
	id, err := checkVolumeID(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, p := range []struct{ what, path string }{
		{"staging target path", req.GetStagingTargetPath()}, {"volume publish path", req.GetVolumePublishPath()},
	} {
		if p.path == "" {
			continue
		}
		if err := checkPath(p.what, p.path); err != nil {
			return nil, err
		}
		paths = append(paths, p.path)
	}
	f, err := n.health(ctx, id, paths)
	if err != nil {
		return nil, err
	}
	return &csipb.NodeGetVolumeHealthResponse{VolumeHealth: &csipb.VolumeHealth{VolumeId: string(id), HealthStatuses: f.entries()}}, nil
}

// health judges a volume by its record, and by whatever else is connected and mounted where there is none.
func (n *Node) health(ctx context.Context, id actors.VolumeID, paths []string) (finding, error) {
	rec, err := n.records.load(id)
	if err != nil {
		return finding{}, err
	}
	if rec != nil {
		_, f := n.examine(ctx, rec)
		return n.watch.dated(id, f), nil
	}
	switch s := n.survey(ctx, map[actors.VolumeID][]string{id: paths})[id]; {
	case s.Err != nil:
		return finding{}, fmt.Errorf("look at %s: %w", id, s.Err)
	case len(s.Connections) == 0:
		return finding{}, fmt.Errorf("volume %s is not on this node: %w", id, actors.ErrNotFound)
	default:
		return judgeUnrecorded(s, paths), nil
	}
}

// judgeUnrecorded judges a volume that somebody else staged, as the older driver did.
func judgeUnrecorded(s nvme.Sight, paths []string) finding {
	worst := finding{condition: Healthy}
	for i, e := range s.Entries {
		if e.Stale && (e.Mounted || e.Kind == nvme.KindBlock) {
			return found(Stale, reasonStale, "the device at %s is gone: %s", paths[i], deletePods)
		}
		if e.Failed != "" {
			worst = found(Failed, "FilesystemFailed", "the filesystem at %s %s", paths[i], e.Failed)
		}
	}
	for _, c := range s.Connections {
		switch {
		case c.State == nvme.StateConnecting:
			worst = found(Waiting, "Reconnecting", "the connection to %s is lost and the kernel is reconnecting, I/O waits", c.NQN)
		case c.State != nvme.StateLive:
			return found(Lost, "ConnectionLost", "the connection to %s is %s: %s", c.NQN, c.State, deletePods)
		case c.Device.Path == "":
			return found(Lost, "NoDevice", "the connection to %s is live but shows no block device: %s", c.NQN, deletePods)
		}
	}
	return worst
}
