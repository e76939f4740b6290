// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

const (
	testUser     = "rds-csi"
	testPassword = "s3cret-of-the-box"
)

// A process is a controller that runs by its command line.
type process struct {
	endpoint   string
	controller csipb.ControllerClient
	stop       func()
}

// startProcess runs rds-csi controller, outside of Kubernetes, with flags that name a box. It is stopped at
// the end of the test, if not before.
func startProcess(t *testing.T, flags ...string) *process {
	t.Helper()
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(testPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{endpoint: "unix://" + filepath.Join(dir, "csi.sock")}
	args := append([]string{
		"controller", "--kubernetes=false", "--rds-user=" + testUser,
		"--rds-password-file=" + password, "--endpoint=" + p.endpoint, "--http-address=127.0.0.1:0", "--log-level=debug",
	}, flags...)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var said bytes.Buffer // read when run has returned
	code := make(chan int, 1)
	go func() { code <- run(ctx, args, &said, &said) }()
	stopped := false
	p.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if c := <-code; c != exitOK {
			t.Errorf("the controller ended with %d:\n%s", c, said.String())
		}
		if strings.Contains(said.String(), testPassword) {
			t.Error("the password is in the log")
		}
	}
	t.Cleanup(p.stop)
	p.dial(t)
	return p
}

// dial connects to the controller and waits until it answers.
func (p *process) dial(t *testing.T) {
	conn, err := grpc.NewClient(p.endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := csipb.NewIdentityClient(conn).Probe(ctx, &csipb.ProbeRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	p.controller = csipb.NewControllerClient(conn)
}

// insist repeats a request while its answer is Unavailable, as the sidecars do, and returns the
// first other one.
func insist(t *testing.T, request func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := request(ctx)
		if status.Code(err) != codes.Unavailable {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("still unavailable: %v", err)
		}
	}
}

// awaitQuiet waits until no command of an earlier process can land any more, so that volumes can be made.
func (p *process) awaitQuiet(t *testing.T) {
	t.Helper()
	if err := insist(t, func(ctx context.Context) error {
		_, err := p.controller.DeleteVolume(ctx, &csipb.DeleteVolumeRequest{VolumeId: "pvc-00000000-0000-4000-8000-000000000000"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func (p *process) create(ctx context.Context, name string) error {
	_, err := p.controller.CreateVolume(ctx, &csipb.CreateVolumeRequest{
		Name: name, CapacityRange: &csipb.CapacityRange{RequiredBytes: 1 << 30},
		VolumeCapabilities: []*csipb.VolumeCapability{sharedBlock()},
		Parameters:         map[string]string{"fencing": "host"},
	})
	return err
}

func (p *process) publish(ctx context.Context, id, node string) error {
	_, err := p.controller.ControllerPublishVolume(ctx, &csipb.ControllerPublishVolumeRequest{
		VolumeId: id, NodeId: node, VolumeCapability: sharedBlock(),
	})
	return err
}

func (p *process) unpublish(ctx context.Context, id, node string) error {
	_, err := p.controller.ControllerUnpublishVolume(ctx, &csipb.ControllerUnpublishVolumeRequest{VolumeId: id, NodeId: node})
	return err
}

// published returns the nodes that the controller says have the volume.
func (p *process) published(t *testing.T, id string) []string {
	t.Helper()
	var nodes []string
	err := insist(t, func(ctx context.Context) error {
		r, err := p.controller.ListVolumes(ctx, &csipb.ListVolumesRequest{})
		for _, e := range r.GetEntries() {
			if e.GetVolume().GetVolumeId() == id {
				nodes = e.GetStatus().GetPublishedNodeIds()
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}
