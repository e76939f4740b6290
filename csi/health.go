// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"fmt"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
)

// ControllerGetVolumeHealth tells what is wrong with a volume's row on the box.
func (c *Controller) ControllerGetVolumeHealth(ctx context.Context, req *csipb.ControllerGetVolumeHealthRequest) (*csipb.ControllerGetVolumeHealthResponse, error) {
	v, err := c.asked(ctx, req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	return &csipb.ControllerGetVolumeHealthResponse{VolumeHealth: c.health(v)}, nil
}

// ControllerListVolumeHealth lists the volumes with something wrong, by ID.
func (c *Controller) ControllerListVolumeHealth(ctx context.Context, req *csipb.ControllerListVolumeHealthRequest) (*csipb.ControllerListVolumeHealthResponse, error) {
	if err := c.checkReady(); err != nil {
		return nil, err
	}
	if err := checkPage(req.GetStartingToken(), req.GetMaxEntries()); err != nil {
		return nil, err
	}
	all, err := c.list(ctx)
	if err != nil {
		return nil, err
	}
	var ill []actors.Volume
	for _, v := range all {
		if len(c.health(v).GetHealthStatuses()) > 0 {
			ill = append(ill, v)
		}
	}
	ill, next := page(ill, req.GetStartingToken(), req.GetMaxEntries())
	resp := &csipb.ControllerListVolumeHealthResponse{NextToken: next}
	for _, v := range ill {
		resp.Entries = append(resp.Entries, c.health(v))
	}
	return resp, nil
}

// health compares what the ledger says with what the row does: a grant that cannot be used is what
// somebody else's hand on the box, or a write cut short, leaves behind.
func (c *Controller) health(v actors.Volume) *csipb.VolumeHealth {
	h := &csipb.VolumeHealth{VolumeId: string(v.ID)}
	add := func(reason, format string, args ...any) {
		h.HealthStatuses = append(h.HealthStatuses, &csipb.VolumeHealth_VolumeHealthEntry{
			Status:  csipb.VolumeHealthErrorType_INACCESSIBLE,
			Reason:  reason,
			Message: fmt.Sprintf(format, args...),
		})
	}
	if len(v.Ledger.Grants) == 0 {
		return h
	}
	if !v.Export {
		add("ExportOff", "granted to %v, but its disk is not exported", publishedNodes(v))
	}
	if _, ok := actors.NQNPrefix(v.NQN, v.ID); !ok {
		add("ForeignNQN", "granted to %v, but its disk has the NQN %.64q", publishedNodes(v), v.NQN)
	}
	if v.AllowHost != "" && !c.allowsGranted(v) {
		add("HostNotAllowed", "granted to %v, but its disk allows only the host %.64q", publishedNodes(v), v.AllowHost)
	}
	return h
}

// allowsGranted reports whether the one host that the export admits is a granted node's.
func (c *Controller) allowsGranted(v actors.Volume) bool {
	for _, g := range v.Ledger.Grants {
		if actors.HostOf(c.cfg.Cluster, g.Node).NQN == v.AllowHost {
			return true
		}
	}
	return false
}
