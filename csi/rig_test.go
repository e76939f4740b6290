// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
)

const (
	vol1 = "pvc-11111111-1111-4111-8111-111111111111"
	vol2 = "pvc-22222222-2222-4222-8222-222222222222"
	vol3 = "pvc-33333333-3333-4333-8333-333333333333"
)

// A rig is a Controller behind a real Server on a unix socket, on top of a box in memory.
type rig struct {
	*testing.T
	csipb.ControllerClient
	conn    *grpc.ClientConn
	box     *fakeBox
	volumes *fakeVolumes
}

// newRig starts a rig with the nodes a, b and c. change may be nil.
func newRig(t *testing.T, change func(*csi.Config)) *rig {
	t.Helper()
	box := newFakeBox()
	r := &rig{T: t, box: box, volumes: &fakeVolumes{fakeBox: box, nodes: []actors.NodeID{"a", "b", "c"}}}
	cfg := csi.Config{
		Volumes: r.volumes, Storage: box,
		Cluster: testCluster, BoxAddress: testBox, VolumePath: "/raid10/volumes",
	}
	if change != nil {
		change(&cfg)
	}
	controller, err := csi.NewController(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.conn = serve(t, csi.ServerConfig{Identity: identity(t, cfg.Ready), Controller: controller})
	r.ControllerClient = csipb.NewControllerClient(r.conn)
	return r
}

func identity(t *testing.T, ready func() bool) *csi.Identity {
	t.Helper()
	id, err := csi.NewIdentity(csi.IdentityConfig{Version: "v1.2.3", Ready: ready})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// serve runs a server until the test ends and returns a connection to it.
func serve(t *testing.T, cfg csi.ServerConfig) *grpc.ClientConn {
	t.Helper()
	if cfg.Endpoint == "" {
		cfg.Endpoint = "unix://" + filepath.Join(t.TempDir(), "csi.sock")
	}
	server, err := csi.NewServer(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	conn, err := grpc.NewClient(cfg.Endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return conn
}

// wantCode checks an RPC's status, and that its message says all of the words.
func (r *rig) wantCode(err error, code codes.Code, words ...string) {
	r.Helper()
	if got := status.Code(err); got != code {
		r.Fatalf("got %v (%v), want %v", got, err, code)
	}
	for _, w := range words {
		if !strings.Contains(status.Convert(err).Message(), w) {
			r.Errorf("message %q does not say %q", status.Convert(err).Message(), w)
		}
	}
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// wantWrites checks what the box was asked to change, in all.
func (r *rig) wantWrites(want ...string) {
	r.Helper()
	if got := strings.Join(r.box.writes(), " "); got != strings.Join(want, " ") {
		r.Errorf("the box saw %q, want %q", got, strings.Join(want, " "))
	}
}

// create makes a volume of 1 GiB.
func (r *rig) create(name string, caps ...*csipb.VolumeCapability) *csipb.Volume {
	r.Helper()
	if len(caps) == 0 {
		caps = []*csipb.VolumeCapability{block(rwo)}
	}
	resp, err := r.CreateVolume(r.Context(), &csipb.CreateVolumeRequest{Name: name, VolumeCapabilities: caps, CapacityRange: &csipb.CapacityRange{RequiredBytes: 1 << 30}})
	r.must(err)
	return resp.GetVolume()
}

func (r *rig) publish(v *csipb.Volume, node string, c *csipb.VolumeCapability) (map[string]string, error) {
	resp, err := r.ControllerPublishVolume(r.Context(), &csipb.ControllerPublishVolumeRequest{
		VolumeId: v.GetVolumeId(), NodeId: node, VolumeCapability: c, VolumeContext: v.GetVolumeContext(),
	})
	return resp.GetPublishContext(), err
}

// Access modes under the names that people know.
const (
	rwo        = csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
	rwop       = csipb.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	rox        = csipb.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
	rwx        = csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	readerOnce = csipb.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY
)

func block(mode csipb.VolumeCapability_AccessMode_Mode) *csipb.VolumeCapability {
	return &csipb.VolumeCapability{
		AccessMode: &csipb.VolumeCapability_AccessMode{Mode: mode},
		AccessType: &csipb.VolumeCapability_Block{Block: &csipb.VolumeCapability_BlockVolume{}},
	}
}

func mount(mode csipb.VolumeCapability_AccessMode_Mode, fsType string, flags ...string) *csipb.VolumeCapability {
	return &csipb.VolumeCapability{
		AccessMode: &csipb.VolumeCapability_AccessMode{Mode: mode},
		AccessType: &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{FsType: fsType, MountFlags: flags}},
	}
}
