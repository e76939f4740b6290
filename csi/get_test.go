// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"fmt"
	"slices"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/rds-csi/rds-csi/actors"
)

func TestGetVolume(t *testing.T) {
	r := newRig(t, nil)
	v := r.create(vol1)
	_, err := r.publish(v, "a", block(rwo))
	r.must(err)
	resp, err := r.ControllerGetVolume(t.Context(), &csipb.ControllerGetVolumeRequest{VolumeId: vol1})
	r.must(err)
	if resp.GetVolume().GetCapacityBytes() != 1<<30 || !slices.Equal(resp.GetStatus().GetPublishedNodeIds(), []string{"a"}) {
		t.Errorf("got %v", resp)
	}
	for id, code := range map[string]codes.Code{"": codes.InvalidArgument, "x": codes.NotFound, vol2: codes.NotFound} {
		_, err := r.ControllerGetVolume(t.Context(), &csipb.ControllerGetVolumeRequest{VolumeId: id})
		r.wantCode(err, code)
	}
	r.box.failWith("get", fmt.Errorf("no route: %w", actors.ErrUnavailable))
	_, err = r.ControllerGetVolume(t.Context(), &csipb.ControllerGetVolumeRequest{VolumeId: vol2})
	r.wantCode(err, codes.Unavailable, "no route")
}
