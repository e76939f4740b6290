// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package instant

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Name is what the driver calls itself.
const Name = "instant"

// maxNodes is how many nodes may have a volume, as for ReadWriteMany.
const maxNodes = 2

// A Driver has volumes that are nothing but their names.
type Driver struct {
	csipb.UnimplementedIdentityServer
	csipb.UnimplementedControllerServer

	mu      sync.Mutex
	volumes map[string]*volume
}

type volume struct {
	size  int64
	epoch int // counts first attachments, so that each has another NQN
	nodes []string
}

// New returns a driver without volumes.
func New() *Driver { return &Driver{volumes: map[string]*volume{}} }

// Serve serves a driver without volumes on a unix socket until ctx is done, and removes the socket.
func Serve(ctx context.Context, socket string) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", socket, err)
	}
	server, d := grpc.NewServer(), New()
	csipb.RegisterIdentityServer(server, d)
	csipb.RegisterControllerServer(server, d)
	failed := make(chan error, 1) // the result of the one Serve
	go func() { failed <- server.Serve(listener) }()
	select {
	case err = <-failed:
	case <-ctx.Done():
		server.Stop()
		err = <-failed
	}
	if err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve %s: %w", socket, err)
	}
	return nil
}

// Probe says ready.
func (d *Driver) Probe(context.Context, *csipb.ProbeRequest) (*csipb.ProbeResponse, error) {
	return &csipb.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}

// CreateVolume notes the volume's name, which becomes its ID.
func (d *Driver) CreateVolume(_ context.Context, req *csipb.CreateVolumeRequest) (*csipb.CreateVolumeResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.volumes[req.GetName()]
	if v == nil {
		v = &volume{size: req.GetCapacityRange().GetRequiredBytes()}
		d.volumes[req.GetName()] = v
	}
	return &csipb.CreateVolumeResponse{Volume: &csipb.Volume{
		VolumeId: req.GetName(), CapacityBytes: v.size, VolumeContext: req.GetParameters(),
	}}, nil
}

// DeleteVolume forgets the volume.
func (d *Driver) DeleteVolume(_ context.Context, req *csipb.DeleteVolumeRequest) (*csipb.DeleteVolumeResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.volumes[req.GetVolumeId()]; v != nil && len(v.nodes) > 0 {
		return nil, status.Error(codes.FailedPrecondition, "the volume is attached")
	}
	delete(d.volumes, req.GetVolumeId())
	return &csipb.DeleteVolumeResponse{}, nil
}

// ControllerPublishVolume notes the node. The answer has the size of a real one.
func (d *Driver) ControllerPublishVolume(_ context.Context, req *csipb.ControllerPublishVolumeRequest) (*csipb.ControllerPublishVolumeResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.volumes[req.GetVolumeId()]
	if v == nil {
		return nil, status.Error(codes.NotFound, "there is no such volume")
	}
	if !slices.Contains(v.nodes, req.GetNodeId()) {
		if len(v.nodes) == maxNodes {
			return nil, status.Error(codes.FailedPrecondition, "the volume is attached to two nodes")
		}
		if len(v.nodes) == 0 {
			v.epoch++
		}
		v.nodes = append(v.nodes, req.GetNodeId())
	}
	return &csipb.ControllerPublishVolumeResponse{PublishContext: map[string]string{
		"nvme_address":  "127.0.0.1",
		"nvme_port":     "4420",
		"nvme_nqn":      fmt.Sprintf("nqn.2000-02.com.mikrotik:%s.%d", req.GetVolumeId(), v.epoch),
		"nvme_host_nqn": "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-0000-0000-000000000000",
		"nvme_host_id":  "00000000-0000-0000-0000-000000000000",
		"access":        "rw",
	}}, nil
}

// ControllerUnpublishVolume forgets the node.
func (d *Driver) ControllerUnpublishVolume(_ context.Context, req *csipb.ControllerUnpublishVolumeRequest) (*csipb.ControllerUnpublishVolumeResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.volumes[req.GetVolumeId()]; v != nil {
		v.nodes = slices.DeleteFunc(v.nodes, func(n string) bool { return n == req.GetNodeId() })
	}
	return &csipb.ControllerUnpublishVolumeResponse{}, nil
}

// ListVolumes lists everything in one page.
func (d *Driver) ListVolumes(context.Context, *csipb.ListVolumesRequest) (*csipb.ListVolumesResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	resp := &csipb.ListVolumesResponse{}
	for id, v := range d.volumes {
		resp.Entries = append(resp.Entries, &csipb.ListVolumesResponse_Entry{
			Volume: &csipb.Volume{VolumeId: id, CapacityBytes: v.size},
			Status: &csipb.ListVolumesResponse_VolumeStatus{PublishedNodeIds: slices.Clone(v.nodes)},
		})
	}
	slices.SortFunc(resp.Entries, func(a, b *csipb.ListVolumesResponse_Entry) int {
		return cmp.Compare(a.GetVolume().GetVolumeId(), b.GetVolume().GetVolumeId())
	})
	return resp, nil
}
