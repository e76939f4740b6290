// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package workload_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/rds-csi/rds-csi/bench/instant"
	"github.com/rds-csi/rds-csi/bench/workload"
)

// A liar is the driver that answers at once, with some of its answers changed.
type liar struct {
	*instant.Driver
	create  func(*csipb.CreateVolumeResponse)
	publish func(nth int64, r *csipb.ControllerPublishVolumeResponse) error
	list    func(*csipb.ListVolumesResponse)
	probe   func(nth int64) bool // ready

	creates, publishes, unpublishes, deletes, probes atomic.Int64
}

func (l *liar) Probe(context.Context, *csipb.ProbeRequest) (*csipb.ProbeResponse, error) {
	n := l.probes.Add(1)
	return &csipb.ProbeResponse{Ready: wrapperspb.Bool(l.probe == nil || l.probe(n))}, nil
}

func (l *liar) CreateVolume(ctx context.Context, req *csipb.CreateVolumeRequest) (*csipb.CreateVolumeResponse, error) {
	l.creates.Add(1)
	resp, err := l.Driver.CreateVolume(ctx, req)
	if l.create != nil {
		l.create(resp)
	}
	return resp, err
}

func (l *liar) ControllerPublishVolume(ctx context.Context, req *csipb.ControllerPublishVolumeRequest) (*csipb.ControllerPublishVolumeResponse, error) {
	n := l.publishes.Add(1)
	resp, err := l.Driver.ControllerPublishVolume(ctx, req)
	if err == nil && l.publish != nil {
		err = l.publish(n, resp)
	}
	return resp, err
}

func (l *liar) ControllerUnpublishVolume(ctx context.Context, req *csipb.ControllerUnpublishVolumeRequest) (*csipb.ControllerUnpublishVolumeResponse, error) {
	l.unpublishes.Add(1)
	return l.Driver.ControllerUnpublishVolume(ctx, req)
}

func (l *liar) DeleteVolume(ctx context.Context, req *csipb.DeleteVolumeRequest) (*csipb.DeleteVolumeResponse, error) {
	l.deletes.Add(1)
	return l.Driver.DeleteVolume(ctx, req)
}

func (l *liar) ListVolumes(ctx context.Context, req *csipb.ListVolumesRequest) (*csipb.ListVolumesResponse, error) {
	resp, err := l.Driver.ListVolumes(ctx, req)
	if l.list != nil {
		l.list(resp)
	}
	return resp, err
}

// serve serves a driver on a unix socket, whose path it returns.
func serve(t *testing.T, l *liar) string {
	t.Helper()
	l.Driver = instant.New()
	dir, err := os.MkdirTemp("", "storm-") // shorter than t.TempDir: a socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "csi.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	csipb.RegisterIdentityServer(server, l)
	csipb.RegisterControllerServer(server, l)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return socket
}

func connect(t *testing.T, l *liar) *grpc.ClientConn {
	t.Helper()
	conn, err := workload.Connect(t.Context(), serve(t, l))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

var small = workload.Config{Volumes: 5, Nodes: 3, Workers: 4, CallTimeout: 30 * time.Second}

func TestStorm(t *testing.T) {
	l := &liar{}
	conn := connect(t, l)
	cfg := small
	looks := 0.0
	cfg.Commands = func(context.Context) (map[string]float64, error) {
		looks++
		return map[string]float64{"set": 100 + 7*looks, "print": 3}, nil
	}
	phases, err := workload.Run(t.Context(), conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		name  string
		calls int
	}
	var got []row
	for _, p := range phases {
		got = append(got, row{p.Name, len(p.Latencies)})
		if p.Elapsed <= 0 || slices.Min(p.Latencies) <= 0 || slices.Max(p.Latencies) > p.Elapsed {
			t.Errorf("%s: latencies %v in %v", p.Name, p.Latencies, p.Elapsed)
		}
		if !maps.Equal(p.Commands, map[string]float64{"set": 7}) {
			t.Errorf("%s: commands %v, want 7 sets and no print", p.Name, p.Commands)
		}
	}
	want := []row{
		{workload.Create, 5},
		{workload.Attach, 5},
		{workload.MigrateIn, 5},
		{workload.MigrateOut, 5},
		{workload.Detach, 5},
		{workload.AttachTwice, 10},
		{workload.Detach, 5},
		{workload.Delete, 5},
	}
	if !slices.Equal(got, want) {
		t.Errorf("phases %v, want %v", got, want)
	}
	for what, n := range map[string][2]int64{
		"creates": {l.creates.Load(), 5}, "publishes": {l.publishes.Load(), 20},
		"unpublishes": {l.unpublishes.Load(), 15}, "deletes": {l.deletes.Load(), 5},
	} {
		if n[0] != n[1] {
			t.Errorf("%d %s, want %d", n[0], what, n[1])
		}
	}
}

// Commands that are not counted are told apart from none.
func TestStormWithoutCount(t *testing.T) {
	phases, err := workload.Run(t.Context(), connect(t, &liar{}), small)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range phases {
		if p.Commands != nil {
			t.Errorf("%s: %v commands, which nobody counted", p.Name, p.Commands)
		}
	}
}

// Both copies of a doubled publish are under way at the same time: a driver that answers the first
// only when the second has come is no obstacle.
func TestDuplicatesOverlap(t *testing.T) {
	second := make(chan struct{})
	l := &liar{publish: func(nth int64, _ *csipb.ControllerPublishVolumeResponse) error {
		switch nth { // one volume: attach, migrate-in, then the pair
		case 3:
			<-second
		case 4:
			close(second)
		}
		return nil
	}}
	cfg := small
	cfg.Volumes, cfg.Workers = 1, 1
	if _, err := workload.Run(t.Context(), connect(t, l), cfg); err != nil {
		t.Fatal(err)
	}
}

func TestWrongAnswersEndTheStorm(t *testing.T) {
	nqn := func(nth, at int64, r *csipb.ControllerPublishVolumeResponse) error {
		if nth == at {
			r.PublishContext = maps.Clone(r.GetPublishContext())
			r.PublishContext["nvme_nqn"] += "x"
		}
		return nil
	}
	for name, c := range map[string]struct {
		lie  *liar
		want string
	}{
		"code": {
			&liar{publish: func(nth int64, _ *csipb.ControllerPublishVolumeResponse) error {
				if nth == 3 {
					return status.Error(codes.Aborted, "later")
				}
				return nil
			}}, "attach: volume pvc-",
		},
		"another volume": {
			&liar{create: func(r *csipb.CreateVolumeResponse) { r.Volume.VolumeId = "pvc-x" }}, "create: volume pvc-",
		},
		"another size": {
			&liar{create: func(r *csipb.CreateVolumeResponse) { r.Volume.CapacityBytes++ }}, "create: volume pvc-",
		},
		"no publish context": {
			&liar{publish: func(_ int64, r *csipb.ControllerPublishVolumeResponse) error { r.PublishContext = nil; return nil }},
			"attach: volume pvc-",
		},
		"another disk for the target": {
			&liar{publish: func(nth int64, r *csipb.ControllerPublishVolumeResponse) error { return nqn(nth, 8, r) }},
			"migrate-in: volume pvc-",
		},
		"another disk for the duplicate": {
			&liar{publish: func(nth int64, r *csipb.ControllerPublishVolumeResponse) error { return nqn(nth, 14, r) }},
			"attach-twice: volume pvc-",
		},
		"a node is not listed": {
			&liar{list: func(r *csipb.ListVolumesResponse) {
				if e := r.GetEntries(); len(e) > 0 {
					e[0].Status.PublishedNodeIds = nil
				}
			}}, "list after attach: volume pvc-",
		},
		"a volume is not listed": {
			&liar{list: func(r *csipb.ListVolumesResponse) { r.Entries = r.GetEntries()[1:] }}, "list after create: volume pvc-",
		},
		"a strange volume is listed": {
			&liar{list: func(r *csipb.ListVolumesResponse) {
				r.Entries = append(r.Entries, &csipb.ListVolumesResponse_Entry{Volume: &csipb.Volume{VolumeId: "pvc-x"}})
			}}, "list after create: 6 volumes",
		},
		"pages without end": {
			&liar{list: func(r *csipb.ListVolumesResponse) { r.Entries, r.NextToken = nil, "more" }}, "list after create: an empty page",
		},
	} {
		t.Run(name, func(t *testing.T) {
			phases, err := workload.Run(t.Context(), connect(t, c.lie), small)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("error %v, want %s...", err, c.want)
			}
			if phases != nil {
				t.Error("a storm with wrong answers was measured")
			}
		})
	}
}

// A driver that does not answer is a wrong answer too, and is not waited for for ever.
func TestSilence(t *testing.T) {
	release := make(chan struct{})
	l := &liar{publish: func(int64, *csipb.ControllerPublishVolumeResponse) error { <-release; return nil }}
	conn := connect(t, l)
	cfg := small
	cfg.Volumes, cfg.CallTimeout = 1, 200*time.Millisecond
	_, err := workload.Run(t.Context(), conn, cfg)
	close(release)
	if err == nil || !strings.Contains(err.Error(), "no answer after 200ms") {
		t.Errorf("error %v, want that there was no answer", err)
	}
}

func TestCommandsThatCannotBeCounted(t *testing.T) {
	cfg := small
	broken := errors.New("broken")
	cfg.Commands = func(context.Context) (map[string]float64, error) { return nil, broken }
	if _, err := workload.Run(t.Context(), connect(t, &liar{}), cfg); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

func TestConnectWaitsForReady(t *testing.T) {
	l := &liar{probe: func(nth int64) bool { return nth > 2 }}
	connect(t, l)
	if n := l.probes.Load(); n != 3 {
		t.Errorf("%d probes, want 3: two that say no, one that says yes", n)
	}
}

func TestConnectGivesUp(t *testing.T) {
	broken := errors.New("broken")
	ctx, cancel := context.WithCancelCause(t.Context())
	l := &liar{probe: func(nth int64) bool {
		if nth == 2 {
			cancel(broken)
		}
		return false
	}}
	if conn, err := workload.Connect(ctx, serve(t, l)); !errors.Is(err, broken) {
		t.Errorf("connection %v, error %v, want %v", conn, err, broken)
	}
}

func TestConfigBounds(t *testing.T) {
	for _, change := range []func(*workload.Config){
		func(c *workload.Config) { c.Volumes = 0 },
		func(c *workload.Config) { c.Volumes = workload.MaxVolumes + 1 },
		func(c *workload.Config) { c.Nodes = 1 },
		func(c *workload.Config) { c.Nodes = workload.MaxNodes + 1 },
		func(c *workload.Config) { c.Workers = 0 },
		func(c *workload.Config) { c.Workers = workload.MaxWorkers + 1 },
		func(c *workload.Config) { c.Size = 1000 },
		func(c *workload.Config) { c.Size = -512 },
		func(c *workload.Config) { c.CallTimeout = -1 },
	} {
		cfg := small
		change(&cfg)
		if _, err := workload.Run(t.Context(), nil, cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}
