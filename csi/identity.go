// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"fmt"
	"regexp"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/rds-csi/rds-csi/actors"
)

// DefaultDriverName is the driver's name where none is configured. Existing PersistentVolumes bear it.
const DefaultDriverName = "rds.csi.srvlab.io"

// driverNameForm is the form of a plugin's name (CSI spec, "GetPluginInfo").
var driverNameForm = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9.]{0,61}[A-Za-z0-9])?$`)

// IdentityConfig configures an Identity.
type IdentityConfig struct {
	// Name is the driver's name, a domain name of at most 63 characters. Empty: DefaultDriverName.
	Name string
	// Version is the driver's version. Required.
	Version string
	// Ready is what Probe answers: on a controller, whether it leads and its caches are synced. The
	// box may be away. Nil: always.
	Ready func() bool
}

// Identity is the CSI Identity service. It is served always, on a standby too.
type Identity struct {
	csipb.UnimplementedIdentityServer
	cfg IdentityConfig
}

// NewIdentity returns an Identity, or ErrInvalid for a malformed name or a missing version.
func NewIdentity(cfg IdentityConfig) (*Identity, error) {
	if cfg.Name == "" {
		cfg.Name = DefaultDriverName
	}
	if !driverNameForm.MatchString(cfg.Name) {
		return nil, fmt.Errorf("driver name %.80q is not a domain name of at most 63 characters: %w", cfg.Name, actors.ErrInvalid)
	}
	if cfg.Version == "" {
		return nil, fmt.Errorf("driver version is missing: %w", actors.ErrInvalid)
	}
	if cfg.Ready == nil {
		cfg.Ready = func() bool { return true }
	}
	return &Identity{cfg: cfg}, nil
}

// GetPluginInfo tells the driver's name and version.
func (i *Identity) GetPluginInfo(context.Context, *csipb.GetPluginInfoRequest) (*csipb.GetPluginInfoResponse, error) {
	return &csipb.GetPluginInfoResponse{Name: i.cfg.Name, VendorVersion: i.cfg.Version}, nil
}

// GetPluginCapabilities tells that there is a Controller service and that volumes grow while in use.
// Topology is not offered: every node reaches the box.
func (i *Identity) GetPluginCapabilities(context.Context, *csipb.GetPluginCapabilitiesRequest) (*csipb.GetPluginCapabilitiesResponse, error) {
	return &csipb.GetPluginCapabilitiesResponse{Capabilities: []*csipb.PluginCapability{
		{Type: &csipb.PluginCapability_Service_{Service: &csipb.PluginCapability_Service{
			Type: csipb.PluginCapability_Service_CONTROLLER_SERVICE,
		}}},
		{Type: &csipb.PluginCapability_VolumeExpansion_{VolumeExpansion: &csipb.PluginCapability_VolumeExpansion{
			Type: csipb.PluginCapability_VolumeExpansion_ONLINE,
		}}},
	}}, nil
}

// Probe tells whether the driver is ready. It never fails: the sidecars exit when it does, and wait
// when it says no.
func (i *Identity) Probe(context.Context, *csipb.ProbeRequest) (*csipb.ProbeResponse, error) {
	return &csipb.ProbeResponse{Ready: wrapperspb.Bool(i.cfg.Ready())}, nil
}
