// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
)

// ControllerGetVolume returns a volume's size and the nodes that hold a grant. Its condition is
// ControllerGetVolumeHealth's to tell since CSI 1.13.
func (c *Controller) ControllerGetVolume(ctx context.Context, req *csipb.ControllerGetVolumeRequest) (*csipb.ControllerGetVolumeResponse, error) {
	v, err := c.asked(ctx, req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	return &csipb.ControllerGetVolumeResponse{
		Volume: &csipb.Volume{VolumeId: string(v.ID), CapacityBytes: v.Size},
		Status: &csipb.ControllerGetVolumeResponse_VolumeStatus{PublishedNodeIds: publishedNodes(v)},
	}, nil
}
