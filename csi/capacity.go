// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"fmt"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/rds-csi/rds-csi/actors"
)

// GetCapacity returns what the pool has free that a StorageClass with these parameters uses. One
// volume may have all of it.
func (c *Controller) GetCapacity(ctx context.Context, req *csipb.GetCapacityRequest) (*csipb.GetCapacityResponse, error) {
	if err := c.checkReady(); err != nil {
		return nil, err
	}
	if req.GetAccessibleTopology() != nil {
		return nil, fmt.Errorf("accessible_topology is not supported: every node reaches the box: %w", actors.ErrInvalid)
	}
	if len(req.GetVolumeCapabilities()) > 0 {
		if _, err := parseCapabilities(req.GetVolumeCapabilities()); err != nil {
			return nil, err
		}
	}
	p, err := c.parseParameters(req.GetParameters())
	if err != nil {
		return nil, err
	}
	pool, err := c.cfg.Storage.Capacity(ctx, p.volumePath)
	if err != nil {
		return nil, fmt.Errorf("read the capacity of %s: %w", p.volumePath, err)
	}
	free := max(pool.Free, 0) / sectorSize * sectorSize
	return &csipb.GetCapacityResponse{AvailableCapacity: free, MaximumVolumeSize: wrapperspb.Int64(free)}, nil
}
