// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"golang.org/x/crypto/ssh"
)

// A lockedLog is a log that may be written while it is read.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestNoSecretIsTold runs a controller with a wrong password, and after it was mended in its file with the
// right one. Neither is in the log, in an error, in a trace or in a metric, nor is anything of a private key.
func TestNoSecretIsTold(t *testing.T) {
	box := startBox(t, t.TempDir(), "127.0.0.1:0")
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	text := pem.EncodeToMemory(block)
	if err := os.WriteFile(key, text, 0o600); err != nil {
		t.Fatal(err)
	}
	// The wrong password holds the right one.
	secrets := append([]string{testPassword}, strings.Split(strings.TrimSpace(string(text)), "\n")[1:]...)
	for i, over := range demoTransports {
		t.Run(over, func(t *testing.T) {
			flags := reach(t, box, over)
			if over == demoSSH {
				flags = append(flags, "--rds-ssh-key-file="+key) // nobody's, so that the password is asked for
			}
			noSecretIsTold(t, secrets, fmt.Sprintf("pvc-2f6c7a52-9d0e-4e0b-8f11-3c9d8e7f6a0%d", i), flags...)
		})
	}
}

func noSecretIsTold(t *testing.T, secrets []string, volume string, flags ...string) {
	const wrong = "not-the-s3cret-of-the-box"
	dir := t.TempDir()
	file := filepath.Join(dir, "password")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(wrong)
	p := &process{endpoint: "unix://" + filepath.Join(dir, "csi.sock")}
	var f controllerFlags
	fs := flag.NewFlagSet("controller", flag.ContinueOnError)
	f.register(fs)
	if err := parse(fs, append(flags,
		"--kubernetes=false", "--rds-user="+testUser, "--rds-password-file="+file, "--endpoint="+p.endpoint,
		"--http-address=127.0.0.1:0", "--nodes=node-a", "--cluster-id=0123456789ab", "--command-timeout=1s",
	), io.Discard); err != nil {
		t.Fatal(err)
	}
	var log lockedLog
	cfg, err := f.config(t.Context(), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	spans := tracetest.NewSpanRecorder()
	cfg.processors = []sdktrace.SpanProcessor{spans}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	d, err := newDriver(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- d.Run(ctx) }()
	p.dial(t)

	_, refused := p.controller.CreateVolume(ctx, &csipb.CreateVolumeRequest{
		Name: volume, CapacityRange: &csipb.CapacityRange{RequiredBytes: 1 << 30}, VolumeCapabilities: []*csipb.VolumeCapability{sharedBlock()},
	})
	if refused == nil || !strings.Contains(refused.Error(), "--rds-password-file") {
		t.Errorf("CreateVolume with a wrong password = %v, want the setting named", refused)
	}
	write(testPassword)
	for _, request := range []func(context.Context) error{
		func(ctx context.Context) error { return p.create(ctx, volume) },
		func(ctx context.Context) error { return p.publish(ctx, volume, "node-a") },
		func(ctx context.Context) error { return p.unpublish(ctx, volume, "node-a") },
	} {
		if err := insist(t, request); err != nil {
			t.Error(err)
		}
	}
	told := map[string]string{"log": log.String(), "error": fmt.Sprintf("%+v", refused), "metrics": getMetrics(t, d)}
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
	told["log at the end"] = log.String()
	for _, s := range spans.Ended() {
		told["traces"] += fmt.Sprintf("%s %v %v %v\n", s.Name(), s.Attributes(), s.Events(), s.Status())
	}
	for what, text := range told {
		if len(text) < 20 {
			t.Errorf("%s is %q: nothing to search", what, text)
		}
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s tells a secret:\n%s", what, text)
			}
		}
	}
}

func getMetrics(t *testing.T, d *driver) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.http.Addr()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	for _, name := range []string{"rds_csi_rds_sessions{", "rds_csi_rds_session_wait_seconds_count", "rds_csi_rds_reconnect_total"} {
		if !strings.Contains(string(page), name) {
			t.Errorf("/metrics has no %s", name)
		}
	}
	return string(page)
}
