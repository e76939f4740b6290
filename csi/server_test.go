// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
)

// A stubController answers as its functions do.
type stubController struct {
	csipb.UnimplementedControllerServer
	publish func(context.Context) error
	list    func(context.Context) error
}

func (s stubController) ControllerPublishVolume(ctx context.Context, _ *csipb.ControllerPublishVolumeRequest) (*csipb.ControllerPublishVolumeResponse, error) {
	return &csipb.ControllerPublishVolumeResponse{}, s.publish(ctx)
}

func (s stubController) ListVolumes(ctx context.Context, _ *csipb.ListVolumesRequest) (*csipb.ListVolumesResponse, error) {
	return &csipb.ListVolumesResponse{}, s.list(ctx)
}

// A journal is a log and the operations counted, safe to read while a server writes.
type journal struct {
	mu  sync.Mutex
	log bytes.Buffer
	ops []string
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.log.Write(p)
}

func (j *journal) operation(method, code string, d time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if d < 0 {
		method = "negative " + method
	}
	j.ops = append(j.ops, method+" "+code)
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.log.String()
}

func (j *journal) config(t *testing.T, c csipb.ControllerServer) csi.ServerConfig {
	return csi.ServerConfig{
		Identity: identity(t, nil), Controller: c,
		Logger: slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Hooks:  csi.Hooks{Operation: j.operation},
	}
}

func TestServerTellsOneOutcome(t *testing.T) {
	var answer error
	stub := stubController{publish: func(context.Context) error { return answer }, list: func(context.Context) error { return nil }}
	recorder := tracetest.NewSpanRecorder()
	provider := trace.NewTracerProvider(trace.WithSpanProcessor(recorder))
	var j journal
	cfg := j.config(t, stub)
	cfg.TracerProvider = provider
	client, stop := start(t, cfg)

	req := &csipb.ControllerPublishVolumeRequest{VolumeId: vol1, NodeId: "a", Secrets: map[string]string{"password": "hunter2"}}
	_, err := client.ControllerPublishVolume(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	answer = fmt.Errorf("grant: %w", actors.ErrUnresolved)
	_, err = client.ControllerPublishVolume(t.Context(), req)
	if status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "grant: outcome unknown" {
		t.Errorf("answered %v", err)
	}
	if _, err = client.ListVolumes(t.Context(), &csipb.ListVolumesRequest{}); err != nil {
		t.Fatal(err)
	}

	stop() // a span ends after its answer was sent
	if want := []string{"ControllerPublishVolume OK", "ControllerPublishVolume Unavailable", "ListVolumes OK"}; !slices.Equal(j.ops, want) {
		t.Errorf("counted %q, want %q", j.ops, want)
	}
	text := j.text()
	if strings.Contains(text, "hunter2") {
		t.Errorf("the log has a secret: %s", text)
	}
	for _, want := range []string{"level=INFO", "level=WARN", "code=Unavailable", vol1, `error="grant: outcome unknown"`, "trace-id="} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %s: %s", want, text)
		}
	}
	if n := strings.Count(text, "request served"); n != 2 {
		t.Errorf("%d requests in the log, want 2: reads are told at debug only", n)
	}
	if err := provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := recorder.Ended()
	if len(spans) < 2 {
		t.Fatalf("%d spans", len(spans))
	}
	attrs := map[string]string{}
	for _, a := range spans[0].Attributes() {
		attrs[string(a.Key)] = a.Value.String()
		if strings.Contains(a.Value.String(), "hunter2") {
			t.Errorf("the span has a secret: %v", a)
		}
	}
	if attrs["rds_csi.volume.id"] != vol1 || attrs["rds_csi.node.id"] != "a" {
		t.Errorf("span attributes %v", attrs)
	}
}

func TestServerSurvivesPanics(t *testing.T) {
	boom := func(context.Context) error { panic("boom") }
	var j journal
	conn := serve(t, j.config(t, stubController{publish: boom, list: boom}))
	client := csipb.NewControllerClient(conn)

	// The grant may have been made before the panic: the answer must not be final.
	_, err := client.ControllerPublishVolume(t.Context(), &csipb.ControllerPublishVolumeRequest{})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("a panicked publish is %v", err)
	}
	_, err = client.ListVolumes(t.Context(), &csipb.ListVolumesRequest{})
	if status.Code(err) != codes.Internal {
		t.Errorf("a panicked list is %v", err)
	}
	if text := j.text(); strings.Count(text, "panic=boom") != 2 || !strings.Contains(text, "server_test.go") {
		t.Errorf("the log lacks a panic or its stack: %s", text)
	}
	if _, err := csipb.NewIdentityClient(conn).Probe(t.Context(), &csipb.ProbeRequest{}); err != nil {
		t.Errorf("after the panics: %v", err)
	}
}

func TestServerLeavesOutWhatIsNotGiven(t *testing.T) {
	conn := serve(t, csi.ServerConfig{Identity: identity(t, nil)})
	_, err := csipb.NewControllerClient(conn).ListVolumes(t.Context(), &csipb.ListVolumesRequest{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("without a controller: %v", err)
	}
	_, err = csipb.NewNodeClient(conn).NodeGetInfo(t.Context(), &csipb.NodeGetInfoRequest{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("without a node: %v", err)
	}
}

func TestServerSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "csi.sock")
	cfg := csi.ServerConfig{Endpoint: "unix://" + path, Identity: identity(t, nil)}
	newServer := func() *csi.Server {
		t.Helper()
		s, err := csi.NewServer(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := newServer()
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o660 {
		t.Errorf("socket %v, %v", info.Mode(), err)
	}
	if _, err := csi.NewServer(t.Context(), cfg); !errors.Is(err, actors.ErrPrecondition) {
		t.Errorf("a second server on a served socket: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}

	// What a killed driver leaves behind.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	second := newServer()

	// A successor's socket is not removed by the one before it.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	third := newServer()
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the successor's socket: %v", err)
	}
	if err := third.Close(); err != nil {
		t.Error(err)
	}

	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := csi.NewServer(t.Context(), cfg); !errors.Is(err, actors.ErrPrecondition) {
		t.Errorf("in the place of a file: %v", err)
	}
	if data, err := os.ReadFile(path); string(data) != "precious" {
		t.Errorf("the file is %q, %v", data, err)
	}
}

func TestNewServerRefusals(t *testing.T) {
	for _, endpoint := range []string{"", "unix://", "tcp://127.0.0.1:0", "unix://csi.sock", "csi.sock", "unix:///csi/"} {
		if _, err := csi.NewServer(t.Context(), csi.ServerConfig{Endpoint: endpoint, Identity: identity(t, nil)}); !errors.Is(err, actors.ErrInvalid) {
			t.Errorf("endpoint %q: %v", endpoint, err)
		}
	}
	if _, err := csi.NewServer(t.Context(), csi.ServerConfig{Endpoint: "unix:///x/csi.sock"}); !errors.Is(err, actors.ErrInvalid) {
		t.Errorf("without an identity: %v", err)
	}
	if _, err := csi.NewServer(t.Context(), csi.ServerConfig{Endpoint: "unix:///no/such/directory/csi.sock", Identity: identity(t, nil)}); err == nil {
		t.Error("in no directory: no error")
	}
}

// start serves a configuration and returns a client, and what stops the server and waits for its end.
func start(t *testing.T, cfg csi.ServerConfig) (csipb.ControllerClient, func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "csi.sock")
	cfg.Endpoint, cfg.Identity = path, identity(t, nil)
	server, err := csi.NewServer(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket after Serve: %v", err)
		}
	})
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return csipb.NewControllerClient(conn), stop
}

func TestServerLetsRequestsFinish(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	stub := stubController{publish: func(ctx context.Context) error {
		close(entered)
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	stub.list = func(context.Context) error { return nil }
	client, stop := start(t, csi.ServerConfig{Controller: stub, StopTimeout: time.Hour})
	answer := make(chan error, 1)
	go func() {
		_, err := client.ControllerPublishVolume(context.Background(), &csipb.ControllerPublishVolumeRequest{})
		answer <- err
	}()
	<-entered
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	// The server takes no new request once it stops: wait for that, then let the running one go on.
	for {
		if _, err := client.ListVolumes(context.Background(), &csipb.ListVolumesRequest{}); status.Code(err) == codes.Unavailable {
			break
		}
	}
	close(release)
	if err := <-answer; err != nil {
		t.Errorf("the running request: %v", err)
	}
	<-stopped
}

func TestServerCutsRequestsOff(t *testing.T) {
	entered, left := make(chan struct{}), make(chan struct{})
	stub := stubController{publish: func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		close(left)
		return ctx.Err()
	}}
	client, stop := start(t, csi.ServerConfig{Controller: stub, StopTimeout: -1})
	answer := make(chan error, 1)
	go func() {
		_, err := client.ControllerPublishVolume(context.Background(), &csipb.ControllerPublishVolumeRequest{})
		answer <- err
	}()
	<-entered
	stop()
	// A sidecar takes Unavailable for "may be in progress".
	if err := <-answer; status.Code(err) != codes.Unavailable {
		t.Errorf("the request that was cut off: %v", err)
	}
	<-left
}

// TestServerBoundsWhatSpansHold: half of a character would cost the collector's whole batch.
func TestServerBoundsWhatSpansHold(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	var j journal
	cfg := j.config(t, stubController{publish: func(context.Context) error { return nil }})
	cfg.TracerProvider = trace.NewTracerProvider(trace.WithSpanProcessor(recorder))
	client, stop := start(t, cfg)
	req := &csipb.ControllerPublishVolumeRequest{VolumeId: strings.Repeat("x", 127) + strings.Repeat("ä", 100)}
	if _, err := client.ControllerPublishVolume(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	stop()
	found := false
	for _, span := range recorder.Ended() {
		for _, a := range span.Attributes() {
			if a.Key == "rds_csi.volume.id" {
				found = true
				if got := a.Value.AsString(); got != strings.Repeat("x", 127) {
					t.Errorf("the span has the volume ID %q", got)
				}
			}
		}
	}
	if !found {
		t.Error("no span names the volume")
	}
}
