// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"errors"
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
)

func TestIdentity(t *testing.T) {
	id := identity(t, nil)
	info, err := id.GetPluginInfo(t.Context(), nil)
	if err != nil || info.GetName() != "rds.csi.srvlab.io" || info.GetVendorVersion() != "v1.2.3" {
		t.Errorf("info %v, %v", info, err)
	}
	caps, err := id.GetPluginCapabilities(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range caps.GetCapabilities() {
		if c.GetService() != nil {
			got = append(got, c.GetService().GetType().String())
		}
		if c.GetVolumeExpansion() != nil {
			got = append(got, c.GetVolumeExpansion().GetType().String())
		}
	}
	if strings.Join(got, " ") != "CONTROLLER_SERVICE ONLINE" {
		t.Errorf("capabilities %v", got)
	}
	probe, err := id.Probe(t.Context(), &csipb.ProbeRequest{})
	if err != nil || !probe.GetReady().GetValue() {
		t.Errorf("probe %v, %v", probe, err)
	}
}

func TestNewIdentityRefusals(t *testing.T) {
	for name, cfg := range map[string]csi.IdentityConfig{
		"version":   {},
		"long name": {Version: "v1", Name: strings.Repeat("n", 64)},
		"slash":     {Version: "v1", Name: "a/b"},
		"dot":       {Version: "v1", Name: "rds."},
	} {
		if _, err := csi.NewIdentity(cfg); !errors.Is(err, actors.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
