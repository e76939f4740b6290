// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"errors"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
)

// ControllerUnpublishVolume revokes a node's grant, or with an empty node_id all of them. A volume or
// node that does not exist any more is unpublished already.
//
// A node_id that cannot be a node's name is refused and not taken for one that is gone: an answer of
// OK promises that the node's writes do not reach the volume.
func (c *Controller) ControllerUnpublishVolume(ctx context.Context, req *csipb.ControllerUnpublishVolumeRequest) (*csipb.ControllerUnpublishVolumeResponse, error) {
	if err := c.checkReady(); err != nil {
		return nil, err
	}
	id, err := checkVolumeID(req.GetVolumeId())
	if errors.Is(err, actors.ErrNotFound) {
		return &csipb.ControllerUnpublishVolumeResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	var node actors.NodeID
	if req.GetNodeId() != "" {
		if node, err = checkNodeID(req.GetNodeId()); err != nil {
			return nil, err
		}
	}
	if err := c.cfg.Volumes.Unpublish(ctx, id, node); err != nil && !errors.Is(err, actors.ErrNotFound) {
		return nil, err
	}
	return &csipb.ControllerUnpublishVolumeResponse{}, nil
}
