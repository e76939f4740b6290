// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"errors"
	"fmt"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
)

// DeleteVolume removes a volume's disk and its backing file. One that is not there is deleted
// already. An attached volume is refused by its actor.
func (c *Controller) DeleteVolume(ctx context.Context, req *csipb.DeleteVolumeRequest) (*csipb.DeleteVolumeResponse, error) {
	if err := c.checkReady(); err != nil {
		return nil, err
	}
	id, err := checkVolumeID(req.GetVolumeId())
	if errors.Is(err, actors.ErrNotFound) {
		return &csipb.DeleteVolumeResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	v, err := c.cfg.Volumes.Get(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("look up volume %s: %w", id, err)
	}
	if err := c.checkOwner(v); err != nil {
		return nil, err
	}
	// Even without a row there may be a file, left by a deletion that was cut short.
	_, err = c.cfg.Volumes.Exclusive(ctx, id, actors.Operation{
		Kind: actors.OpDelete,
		Run: func(ctx context.Context) (actors.Volume, error) {
			return actors.Volume{ID: id}, c.cfg.Storage.Delete(ctx, id)
		},
	})
	if err != nil && !errors.Is(err, actors.ErrNotFound) {
		return nil, err
	}
	return &csipb.DeleteVolumeResponse{}, nil
}
