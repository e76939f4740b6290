// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"fmt"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
)

// ValidateVolumeCapabilities confirms what an existing volume can be used for. What it cannot is no
// error: Confirmed is empty and Message says what to change.
func (c *Controller) ValidateVolumeCapabilities(ctx context.Context, req *csipb.ValidateVolumeCapabilitiesRequest) (*csipb.ValidateVolumeCapabilitiesResponse, error) {
	if err := c.checkReady(); err != nil {
		return nil, err
	}
	id, err := checkVolumeID(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if len(req.GetVolumeCapabilities()) == 0 {
		return nil, fmt.Errorf("volume_capabilities are missing: %w", actors.ErrInvalid)
	}
	v, err := c.get(ctx, id)
	if err != nil {
		return nil, err
	}
	resp := &csipb.ValidateVolumeCapabilitiesResponse{}
	if why := c.confirm(v, req); why != nil {
		resp.Message = why.Error()
	} else {
		resp.Confirmed = &csipb.ValidateVolumeCapabilitiesResponse_Confirmed{
			VolumeContext:      req.GetVolumeContext(),
			VolumeCapabilities: req.GetVolumeCapabilities(),
			Parameters:         req.GetParameters(),
		}
	}
	return resp, nil
}

// confirm returns why the volume is not what the request says.
func (c *Controller) confirm(v actors.Volume, req *csipb.ValidateVolumeCapabilitiesRequest) error {
	use, err := parseCapabilities(req.GetVolumeCapabilities())
	if err != nil {
		return err
	}
	if err := c.checkVolumeContext(v.ID, use, req.GetVolumeContext()); err != nil {
		return err
	}
	if len(req.GetMutableParameters()) > 0 {
		return fmt.Errorf("mutable_parameters are not supported: %w", actors.ErrInvalid)
	}
	if len(req.GetParameters()) == 0 {
		return nil
	}
	params, err := c.parseParameters(req.GetParameters())
	if err != nil || !v.Ours { // the older driver's rows do not say how they were made
		return err
	}
	return c.checkSame(v, createRequest{id: v.ID, use: use, params: params, size: v.Size})
}
