// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"fmt"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/rds-csi/rds-csi/actors"
)

func TestGetCapacity(t *testing.T) {
	r := newRig(t, nil)
	r.box.total = 1<<40 + 100
	r.create(vol1)
	resp, err := r.GetCapacity(t.Context(), &csipb.GetCapacityRequest{Parameters: map[string]string{"volumePath": "/raid10/x"}})
	r.must(err)
	if want := int64(1<<40 - 1<<30); resp.GetAvailableCapacity() != want || resp.GetMaximumVolumeSize().GetValue() != want {
		t.Errorf("got %v, want %d", resp, want)
	}
	r.box.total = 0 // full beyond its size
	resp, err = r.GetCapacity(t.Context(), &csipb.GetCapacityRequest{})
	r.must(err)
	if resp.GetAvailableCapacity() != 0 {
		t.Errorf("got %v of an overfull pool", resp)
	}
	for _, req := range []*csipb.GetCapacityRequest{
		{Parameters: map[string]string{"x": "y"}},
		{VolumeCapabilities: []*csipb.VolumeCapability{mount(rwx, "")}},
		{AccessibleTopology: &csipb.Topology{}},
	} {
		_, err := r.GetCapacity(t.Context(), req)
		r.wantCode(err, codes.InvalidArgument)
	}
	r.box.failWith("capacity", fmt.Errorf("no route: %w", actors.ErrUnavailable))
	_, err = r.GetCapacity(t.Context(), &csipb.GetCapacityRequest{})
	r.wantCode(err, codes.Unavailable, "no route")
}
