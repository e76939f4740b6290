// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"fmt"
	"strconv"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
)

// ControllerExpandVolume makes a volume larger, attached or not. It never shrinks one: a volume that
// is large enough already stays as it is.
//
// The node must always act, for block volumes too: the box tells initiators nothing of a new size,
// so a node sees it only after it rescanned the controller.
func (c *Controller) ControllerExpandVolume(ctx context.Context, req *csipb.ControllerExpandVolumeRequest) (*csipb.ControllerExpandVolumeResponse, error) {
	if err := c.checkReady(); err != nil {
		return nil, err
	}
	id, err := checkVolumeID(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	sizes, size, err := parseExpand(req)
	if err != nil {
		return nil, err
	}
	v, err := c.cfg.Volumes.Exclusive(ctx, id, actors.Operation{
		Kind: actors.OpExpand,
		Key:  strconv.FormatInt(size, 10),
		Run:  func(ctx context.Context) (actors.Volume, error) { return c.expand(ctx, id, size) },
	})
	if err != nil {
		return nil, err
	}
	if !sizes.holds(v.Size) {
		return nil, fmt.Errorf("volume %s has %d bytes, which limit_bytes %d excludes, and is never shrunk: raise the limit: %w", id, v.Size, sizes.limit, actors.ErrOutOfRange)
	}
	return &csipb.ControllerExpandVolumeResponse{CapacityBytes: v.Size, NodeExpansionRequired: true}, nil
}

func parseExpand(req *csipb.ControllerExpandVolumeRequest) (sizeRange, int64, error) {
	sizes, err := parseRange(req.GetCapacityRange())
	if err != nil {
		return sizes, 0, err
	}
	if sizes.required == 0 {
		return sizes, 0, fmt.Errorf("capacity_range.required_bytes is missing: %w", actors.ErrInvalid)
	}
	size, err := sizes.size()
	if err != nil {
		return sizes, 0, err
	}
	if req.GetVolumeCapability() != nil {
		_, err = parseCapability(req.GetVolumeCapability())
	}
	return sizes, size, err
}

// expand is the operation. It looks at the size itself: another expansion may have gone before.
func (c *Controller) expand(ctx context.Context, id actors.VolumeID, size int64) (actors.Volume, error) {
	v, err := c.get(ctx, id)
	if err != nil || v.Size >= size {
		return v, err
	}
	v, err = c.cfg.Storage.Expand(ctx, id, size)
	if err == nil && v.Size < size {
		err = fmt.Errorf("the box acknowledged %d bytes and shows %d: %w", size, v.Size, actors.ErrUnresolved)
	}
	return v, err
}
