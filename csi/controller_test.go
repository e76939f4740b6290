// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"slices"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
)

func foreignRow(id actors.VolumeID) actors.Volume {
	return actors.Volume{
		ID: id, Exists: true, Ours: true, Size: 1 << 30, NQN: actors.DefaultNQNPrefix + ":" + string(id), Port: 4420,
		Ledger: actors.Ledger{Cluster: "ffffffffffff", Gen: 1, Fencing: actors.FencingEpoch, Timeout: 300},
	}
}

func TestForeignVolumesAreLeftAlone(t *testing.T) {
	r := newRig(t, nil)
	r.box.put(foreignRow(vol1))
	_, err := r.DeleteVolume(t.Context(), &csipb.DeleteVolumeRequest{VolumeId: vol1})
	r.wantCode(err, codes.FailedPrecondition, "cluster ffffffffffff")
	_, err = r.ControllerExpandVolume(t.Context(), &csipb.ControllerExpandVolumeRequest{VolumeId: vol1, CapacityRange: &csipb.CapacityRange{RequiredBytes: 1 << 40}})
	r.wantCode(err, codes.FailedPrecondition, "cluster ffffffffffff")
	_, err = r.ControllerGetVolume(t.Context(), &csipb.ControllerGetVolumeRequest{VolumeId: vol1})
	r.wantCode(err, codes.FailedPrecondition, "cluster ffffffffffff")
	_, err = r.ValidateVolumeCapabilities(t.Context(), &csipb.ValidateVolumeCapabilitiesRequest{VolumeId: vol1, VolumeCapabilities: []*csipb.VolumeCapability{block(rwo)}})
	r.wantCode(err, codes.FailedPrecondition, "cluster ffffffffffff")
	list, err := r.ListVolumes(t.Context(), &csipb.ListVolumesRequest{})
	r.must(err)
	if len(list.GetEntries()) != 0 {
		t.Errorf("listed %v", list)
	}
	r.wantWrites()
}

// TestStandby: a controller that does not lead serves what the sidecars need to wait, and nothing else.
func TestStandby(t *testing.T) {
	ready := make(chan bool, 1)
	ready <- false
	isReady := func() bool { b := <-ready; ready <- b; return b }
	r := newRig(t, func(c *csi.Config) { c.Ready = isReady })
	id := csipb.NewIdentityClient(r.conn)
	probe := func() bool {
		resp, err := id.Probe(t.Context(), &csipb.ProbeRequest{})
		r.must(err)
		return resp.GetReady().GetValue()
	}
	if probe() {
		t.Error("a standby says it is ready")
	}
	_, err := r.ControllerGetCapabilities(t.Context(), &csipb.ControllerGetCapabilitiesRequest{})
	r.must(err)
	_, err = id.GetPluginInfo(t.Context(), &csipb.GetPluginInfoRequest{})
	r.must(err)
	_, err = id.GetPluginCapabilities(t.Context(), &csipb.GetPluginCapabilitiesRequest{})
	r.must(err)

	// Every other RPC that is served at all. Empty requests would be InvalidArgument on a leader.
	offered := 0
	for _, m := range csipb.Controller_ServiceDesc.Methods {
		err := r.conn.Invoke(t.Context(), "/"+csipb.Controller_ServiceDesc.ServiceName+"/"+m.MethodName, &csipb.ProbeRequest{}, &csipb.ProbeResponse{})
		switch status.Code(err) {
		case codes.Unimplemented, codes.OK:
		case codes.Unavailable:
			offered++
		default:
			t.Errorf("%s is %v on a standby", m.MethodName, err)
		}
	}
	if offered != 11 {
		t.Errorf("%d RPCs are Unavailable on a standby, want 11", offered)
	}
	if len(r.box.calls) != 0 {
		t.Errorf("the box saw %v from a standby", r.box.calls)
	}
	<-ready
	ready <- true
	if !probe() {
		t.Error("a leader says it is not ready")
	}
	_, err = r.ListVolumes(t.Context(), &csipb.ListVolumesRequest{})
	r.must(err)
}

func TestControllerCapabilities(t *testing.T) {
	r := newRig(t, nil)
	resp, err := r.ControllerGetCapabilities(t.Context(), &csipb.ControllerGetCapabilitiesRequest{})
	r.must(err)
	var got []string
	for _, c := range resp.GetCapabilities() {
		got = append(got, c.GetRpc().GetType().String())
	}
	slices.Sort(got)
	want := []string{
		"CREATE_DELETE_VOLUME", "EXPAND_VOLUME", "GET_CAPACITY", "GET_VOLUME", "GET_VOLUME_HEALTH", "LIST_VOLUMES",
		"LIST_VOLUMES_PUBLISHED_NODES", "LIST_VOLUME_HEALTH", "PUBLISH_UNPUBLISH_VOLUME", "SINGLE_NODE_MULTI_WRITER",
	}
	if !slices.Equal(got, want) {
		t.Errorf("capabilities %v, want %v", got, want)
	}
}

func TestNewControllerRefusals(t *testing.T) {
	good := func() csi.Config {
		return csi.Config{Volumes: &fakeVolumes{}, Storage: newFakeBox(), Cluster: testCluster, BoxAddress: testBox}
	}
	if _, err := csi.NewController(good()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*csi.Config){
		"no volumes": func(c *csi.Config) { c.Volumes = nil },
		"no storage": func(c *csi.Config) { c.Storage = nil },
		"cluster":    func(c *csi.Config) { c.Cluster = "my-cluster" },
		"no box":     func(c *csi.Config) { c.BoxAddress = "" },
		"alias":      func(c *csi.Config) { c.BoxAliases = []string{"a b"} },
		"NVMe":       func(c *csi.Config) { c.NVMeAddress = "1.2.3.4:4420" },
		"path":       func(c *csi.Config) { c.VolumePath = "raid10" },
	} {
		c := good()
		change(&c)
		if _, err := csi.NewController(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
