// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/k8s"
	"github.com/rds-csi/rds-csi/rds"
	"github.com/rds-csi/rds-csi/rds/sim"
	"github.com/rds-csi/rds-csi/telemetry"
)

// A rival is a controller that wants the lease.
type rival struct {
	*driver
	identity   csipb.IdentityClient
	controller csipb.ControllerClient
	stop       func()
	seized     bool          // a person takes the lease from it
	inherited  chan struct{} // gets one when it inherits what others left to tell
}

// configOn is the configuration of a controller on the box whose API is at an address.
func configOn(t *testing.T, box string, around makeSurroundings) driverConfig {
	return driverConfig{
		endpoint: "unix://" + filepath.Join(t.TempDir(), "csi.sock"), driverName: csi.DefaultDriverName, cluster: "0123456789ab",
		box: rds.Config{
			Address: box, Username: testUser, Password: testPassword, Cluster: "0123456789ab",
			VolumePaths: []string{"/raid10"}, CommandTimeout: time.Second,
		},
		boxAddress: "127.0.0.1", nvmeAddress: "127.0.0.1", volumePath: "/raid10", commandTimeout: time.Second, quiet: time.Second,
		surroundings: around, http: "127.0.0.1:0", logger: slog.New(slog.DiscardHandler),
	}
}

func startRival(t *testing.T, box string, client kubernetes.Interface, name string) *rival {
	t.Helper()
	nodes, err := actors.NewStaticNodes("node-a", "node-b")
	if err != nil {
		t.Fatal(err)
	}
	lease, err := k8s.NewLease(k8s.LeaseConfig{
		Client: client, Namespace: "rds-csi", Name: "rds.csi.srvlab.io", Identity: name, WriteTimeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	inherited := make(chan struct{}, 2)
	cfg := configOn(t, box, func(*telemetry.Telemetry, observer) (surroundings, error) {
		return surroundings{nodes: nodes, lease: lease, inherited: func([]actors.Announcement) { inherited <- struct{}{} }}, nil
	})
	d, err := newDriver(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	r := &rival{driver: d, inherited: inherited}
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil && (!r.seized || !errors.Is(err, k8s.ErrLeaseLost)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Cleanup(r.stop)
	conn, err := grpc.NewClient(cfg.endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	r.identity, r.controller = csipb.NewIdentityClient(conn), csipb.NewControllerClient(conn)
	return r
}

// ready is what Probe says, which never fails.
func (r *rival) ready(t *testing.T) bool {
	t.Helper()
	p, err := r.identity.Probe(t.Context(), &csipb.ProbeRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatalf("Probe = %v", err)
	}
	return p.GetReady().GetValue()
}

func (r *rival) awaitReady(t *testing.T) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !r.ready(t) {
		select {
		case <-again.C:
		case <-t.Context().Done():
			t.Fatal("never ready")
		}
	}
}

// TestTheStandbyWaits and serves what the sidecars and the kubelet ask of it meanwhile; then it takes over.
func TestTheStandbyWaits(t *testing.T) {
	box := startBox(t, t.TempDir(), net.JoinHostPort(sim.LoopbackHost(), "0"))
	client := fake.NewClientset()
	first := startRival(t, box.APIAddr(), client, "first")
	first.awaitReady(t)
	second := startRival(t, box.APIAddr(), client, "second")
	if second.ready(t) {
		t.Fatal("both are ready")
	}
	if _, err := second.identity.GetPluginInfo(t.Context(), &csipb.GetPluginInfoRequest{}); err != nil {
		t.Errorf("GetPluginInfo = %v", err)
	}
	if _, err := second.controller.ControllerGetCapabilities(t.Context(), &csipb.ControllerGetCapabilitiesRequest{}); err != nil {
		t.Errorf("ControllerGetCapabilities = %v", err)
	}
	if _, err := second.controller.ListVolumes(t.Context(), &csipb.ListVolumesRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("ListVolumes = %v, want Unavailable", err)
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if code := get(t, "http://"+second.http.Addr()+path); code != http.StatusOK {
			t.Errorf("%s = %d", path, code)
		}
	}
	p := &process{controller: first.controller}
	if err := insist(t, func(ctx context.Context) error { return p.create(ctx, "disk") }); err != nil {
		t.Fatal(err)
	}

	<-first.inherited
	if len(second.inherited) > 0 {
		t.Error("the standby looked at what there is to tell")
	}
	// Whatever a standby would write all the same is not sent.
	volumes, err := second.box.List(t.Context())
	if err != nil || len(volumes) != 1 {
		t.Fatalf("the standby reads %+v, %v", volumes, err)
	}
	if err := second.box.Delete(t.Context(), volumes[0].ID); !errors.Is(err, actors.ErrUnavailable) {
		t.Errorf("the standby's Delete = %v, want ErrUnavailable", err)
	}

	first.stop()
	second.awaitReady(t)
	<-second.inherited
	p.controller = second.controller
	if err := insist(t, func(ctx context.Context) error { return p.create(ctx, "disk") }); err != nil {
		t.Fatal(err)
	}
	if n := len(box.Disks()); n != 1 {
		t.Errorf("%d disks, want the one that both were asked for", n)
	}
}

func get(t *testing.T, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}
