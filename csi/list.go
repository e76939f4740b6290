// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"fmt"
	"slices"
	"strings"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
)

// ListVolumes lists this cluster's volumes by ID, with the nodes that hold a grant. It never answers
// in part, since the attacher publishes again whatever a list leaves out.
func (c *Controller) ListVolumes(ctx context.Context, req *csipb.ListVolumesRequest) (*csipb.ListVolumesResponse, error) {
	if err := c.checkReady(); err != nil {
		return nil, err
	}
	if err := checkPage(req.GetStartingToken(), req.GetMaxEntries()); err != nil {
		return nil, err
	}
	volumes, err := c.list(ctx)
	if err != nil {
		return nil, err
	}
	volumes, next := page(volumes, req.GetStartingToken(), req.GetMaxEntries())
	entries := make([]*csipb.ListVolumesResponse_Entry, 0, len(volumes))
	for _, v := range volumes {
		entries = append(entries, &csipb.ListVolumesResponse_Entry{
			Volume: &csipb.Volume{VolumeId: string(v.ID), CapacityBytes: v.Size},
			Status: &csipb.ListVolumesResponse_VolumeStatus{PublishedNodeIds: publishedNodes(v)},
		})
	}
	return &csipb.ListVolumesResponse{Entries: entries, NextToken: next}, nil
}

// list returns this cluster's volumes, sorted by ID.
func (c *Controller) list(ctx context.Context) ([]actors.Volume, error) {
	all, err := c.cfg.Volumes.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	ours := make([]actors.Volume, 0, len(all))
	for _, v := range all {
		if v.Exists && c.checkOwner(v) == nil {
			ours = append(ours, v)
		}
	}
	slices.SortFunc(ours, func(a, b actors.Volume) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return ours, nil
}

// checkPage checks where a page starts and how long it is. A token is the ID of the last volume of
// the page before, so it stays good when that volume is deleted. A bad one is ErrBusy, which is
// Aborted: the CO starts again without a token (CSI spec, "ListVolumes Errors").
func checkPage(token string, maxEntries int32) error {
	if maxEntries < 0 {
		return fmt.Errorf("max_entries is %d: it is not negative: %w", maxEntries, actors.ErrInvalid)
	}
	if token != "" && actors.VolumeID(token).Check() != nil {
		return fmt.Errorf("starting_token %.64q is not one of this driver: start again without: %w", token, actors.ErrBusy)
	}
	return nil
}

// page cuts one page out of a sorted list, and returns the token of the next, empty for the last.
func page(all []actors.Volume, token string, maxEntries int32) ([]actors.Volume, string) {
	start, found := slices.BinarySearchFunc(all, token, func(v actors.Volume, t string) int { return strings.Compare(string(v.ID), t) })
	if found {
		start++
	}
	all = all[start:]
	if maxEntries == 0 || len(all) <= int(maxEntries) {
		return all, ""
	}
	return all[:maxEntries], string(all[maxEntries-1].ID)
}
