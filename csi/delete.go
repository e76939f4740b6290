// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"errors"

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
	_, err = c.cfg.Volumes.Exclusive(ctx, id, actors.Operation{
		Kind: actors.OpDelete,
		Run:  func(ctx context.Context) (actors.Volume, error) { return actors.Volume{ID: id}, c.remove(ctx, id) },
	})
	if err != nil && !errors.Is(err, actors.ErrNotFound) {
		return nil, err
	}
	return &csipb.DeleteVolumeResponse{}, nil
}

// remove is the operation. Its actor refused what is another cluster's; what cannot be undone is
// asked twice. Even without a row there may be a file, left by a deletion that was cut short.
func (c *Controller) remove(ctx context.Context, id actors.VolumeID) error {
	v, err := c.cfg.Volumes.Get(ctx, id)
	if err != nil {
		return err
	}
	if err := c.checkOwner(v); err != nil {
		return err
	}
	return c.cfg.Storage.Delete(ctx, id)
}
