// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

func TestValidate(t *testing.T) {
	r := newRig(t, nil)
	v := r.create(vol1, mount(rwo, "ext4"))
	for _, test := range []struct {
		name string
		req  *csipb.ValidateVolumeCapabilitiesRequest
		says string // empty: confirmed
	}{
		{"what it is", &csipb.ValidateVolumeCapabilitiesRequest{VolumeContext: v.GetVolumeContext(), Parameters: map[string]string{"fencing": "epoch"}}, ""},
		{"several", &csipb.ValidateVolumeCapabilitiesRequest{VolumeCapabilities: []*csipb.VolumeCapability{mount(rwo, "ext4"), mount(rox, "ext4")}}, ""},
		{"RWX filesystem", &csipb.ValidateVolumeCapabilitiesRequest{VolumeCapabilities: []*csipb.VolumeCapability{mount(rwx, "ext4")}}, "volumeMode: Block"},
		{"another filesystem", &csipb.ValidateVolumeCapabilitiesRequest{VolumeContext: v.GetVolumeContext(), VolumeCapabilities: []*csipb.VolumeCapability{mount(rwo, "xfs")}}, "holds ext4"},
		{"block", &csipb.ValidateVolumeCapabilitiesRequest{VolumeContext: v.GetVolumeContext(), VolumeCapabilities: []*csipb.VolumeCapability{block(rwo)}}, "volumeMode: Filesystem"},
		{"another box", &csipb.ValidateVolumeCapabilitiesRequest{VolumeContext: map[string]string{"rdsAddress": "10.0.0.2"}}, "10.0.0.2"},
		{"unknown parameter", &csipb.ValidateVolumeCapabilitiesRequest{Parameters: map[string]string{"x": "y"}}, "unknown"},
		{"another parameter", &csipb.ValidateVolumeCapabilitiesRequest{Parameters: map[string]string{"fencing": "host"}}, "fencing"},
		{"mutable parameter", &csipb.ValidateVolumeCapabilitiesRequest{MutableParameters: map[string]string{"x": "y"}}, "mutable_parameters"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.req.VolumeId = vol1
			if test.req.VolumeCapabilities == nil {
				test.req.VolumeCapabilities = []*csipb.VolumeCapability{mount(rwo, "ext4")}
			}
			resp, err := r.ValidateVolumeCapabilities(t.Context(), test.req)
			if err != nil {
				t.Fatal(err)
			}
			if confirmed := resp.GetConfirmed() != nil; confirmed != (test.says == "") || !strings.Contains(resp.GetMessage(), test.says) {
				t.Errorf("answered %v, want %q", resp, test.says)
			}
			if c := resp.GetConfirmed(); c != nil && len(c.GetVolumeCapabilities()) != len(test.req.GetVolumeCapabilities()) {
				t.Errorf("confirmed %v of %v", c, test.req)
			}
		})
	}
	validate := func(id string, caps ...*csipb.VolumeCapability) error {
		_, err := r.ValidateVolumeCapabilities(t.Context(), &csipb.ValidateVolumeCapabilitiesRequest{VolumeId: id, VolumeCapabilities: caps})
		return err
	}
	r.wantCode(validate(""), codes.InvalidArgument, "volume_id")
	r.wantCode(validate(vol1), codes.InvalidArgument, "volume_capabilities")
	r.wantCode(validate(vol2, block(rwo)), codes.NotFound, vol2)
	r.wantCode(validate("x", block(rwo)), codes.NotFound)
}
