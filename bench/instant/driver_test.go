// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package instant_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rds-csi/rds-csi/bench/instant"
	"github.com/rds-csi/rds-csi/bench/workload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A whole storm passes on the served driver, which ends when it is told to and removes its socket.
func TestServe(t *testing.T) {
	dir, err := os.MkdirTemp("", "storm-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	socket := filepath.Join(dir, "csi.sock")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- instant.Serve(ctx, socket) }()
	conn, err := workload.Connect(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := workload.Run(t.Context(), conn, workload.Config{Volumes: 20, Nodes: 2, Workers: 7}); err != nil {
		t.Error(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestServeWhereNothingCanListen(t *testing.T) {
	if err := instant.Serve(t.Context(), filepath.Join(t.TempDir(), "missing", "csi.sock")); err == nil {
		t.Error("served in a directory that does not exist")
	}
}

// What a storm never does is refused all the same: a storm that goes wrong must be noticed.
func TestRefusals(t *testing.T) {
	ctx, d := t.Context(), instant.New()
	publish := func(volume, node string) error {
		_, err := d.ControllerPublishVolume(ctx, &csipb.ControllerPublishVolumeRequest{VolumeId: volume, NodeId: node})
		return err
	}
	if _, err := d.CreateVolume(ctx, &csipb.CreateVolumeRequest{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		what string
		err  error
		want codes.Code
	}{
		{"publish a volume that is not there", publish("b", "n1"), codes.NotFound},
		{"publish to one", publish("a", "n1"), codes.OK},
		{"publish again", publish("a", "n1"), codes.OK},
		{"publish to a second", publish("a", "n2"), codes.OK},
		{"publish to a third", publish("a", "n3"), codes.FailedPrecondition},
	} {
		if got := status.Code(step.err); got != step.want {
			t.Errorf("%s: %v, want %v", step.what, got, step.want)
		}
	}
	if _, err := d.DeleteVolume(ctx, &csipb.DeleteVolumeRequest{VolumeId: "a"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("delete an attached volume: %v", err)
	}
}
