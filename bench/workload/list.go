// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"fmt"
	"slices"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
)

// checkList compares what the driver lists with what its answers have promised: each of the storm's
// volumes with the nodes that holders names, and no other volume. Where holders is nil there are none.
func (s *storm) checkList(ctx context.Context, holders func(volume int) []string) error {
	listed, err := s.list(ctx)
	if err != nil {
		return err
	}
	var want []string
	if holders != nil {
		want = s.ids
	}
	for v, id := range want {
		nodes, ok := listed[id]
		if !ok {
			return fmt.Errorf("volume %s is missing", id)
		}
		is, should := slices.Sorted(slices.Values(nodes)), slices.Sorted(slices.Values(holders(v)))
		if !slices.Equal(is, should) {
			return fmt.Errorf("volume %s is published to %v, should be to %v", id, is, should)
		}
	}
	if len(listed) != len(want) {
		return fmt.Errorf("%d volumes are listed, there should be %d", len(listed), len(want))
	}
	return nil
}

// list returns the nodes of every volume.
func (s *storm) list(ctx context.Context) (map[string][]string, error) {
	listed := map[string][]string{}
	for token := ""; ; {
		page, err := s.page(ctx, token)
		if err != nil {
			return nil, err
		}
		for _, e := range page.GetEntries() {
			id := e.GetVolume().GetVolumeId()
			if _, twice := listed[id]; twice {
				return nil, fmt.Errorf("volume %s is listed twice", id)
			}
			listed[id] = e.GetStatus().GetPublishedNodeIds()
		}
		if page.GetNextToken() == "" {
			return listed, nil
		}
		if len(page.GetEntries()) == 0 {
			return nil, fmt.Errorf("an empty page of the list promises another one")
		}
		token = page.GetNextToken()
	}
}

func (s *storm) page(ctx context.Context, token string) (*csipb.ListVolumesResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	return s.csi.ListVolumes(ctx, &csipb.ListVolumesRequest{StartingToken: token})
}
