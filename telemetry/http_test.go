// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rds-csi/rds-csi/actors"
)

func get(t *testing.T, h http.Handler, method, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	return w.Code, w.Body.String()
}

func TestHandler(t *testing.T) {
	var notReady error
	h := start(t, Config{Component: Controller, Version: "v1.2.3", Ready: func() error { return notReady }}).Handler()
	check := func(method, path string, wantCode int, wantText string) {
		t.Helper()
		code, text := get(t, h, method, path)
		if code != wantCode || !strings.Contains(text, wantText) {
			t.Errorf("%s %s = %d %q, want %d %q", method, path, code, text, wantCode, wantText)
		}
	}
	check("GET", "/healthz", 200, "ok")
	check("GET", "/readyz", 200, "ok")
	check("GET", "/", 200, `<a href="/metrics">`)
	check("GET", "/", 200, "version v1.2.3")
	check("HEAD", "/healthz", 200, "")
	check("GET", "/debug/pprof/", 404, "")
	check("POST", "/metrics", 405, "")
	check("GET", "/metrics", 200, "process_start_time_seconds")
	check("GET", "/metrics", 200, "go_goroutines")

	notReady = errors.New("<the caches> are not synced")
	check("GET", "/healthz", 200, "ok")
	check("GET", "/readyz", 503, "<the caches> are not synced")
	check("GET", "/", 200, "not ready: &lt;the caches&gt; are not synced")
}

// P8: metrics and health are served while what readiness asks hangs. Were it asked, this test would
// hang too.
func TestMetricsAndHealthWaitForNobody(t *testing.T) {
	never := make(chan struct{})
	h := start(t, Config{Ready: func() error { <-never; return nil }}).Handler()
	for _, path := range []string{"/metrics", "/healthz"} {
		if code, _ := get(t, h, "GET", path); code != 200 {
			t.Errorf("GET %s = %d", path, code)
		}
	}
}

func TestServer(t *testing.T) {
	tel := start(t, Config{})
	server, err := tel.Listen(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(server.Addr(), "127.0.0.1:") {
		t.Errorf("listens on %s by default, want loopback", server.Addr())
	}
	if second, err := tel.Listen(t.Context(), server.Addr()); err == nil {
		t.Error("two servers listen on one port", second.Close())
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+server.Addr()+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
	}()
	if text, err := io.ReadAll(response.Body); err != nil || string(text) != "ok\n" {
		t.Errorf("GET /healthz = %q, %v", text, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	if late, err := client.Do(request); err == nil {
		t.Error("the port is open after Run returned", late.Body.Close())
	}
}

func TestServerTellsThatItFailed(t *testing.T) {
	server, err := start(t, Config{}).Listen(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if err := server.Run(t.Context()); err == nil {
		t.Error("Run on a closed port returned nil")
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, config := range map[string]Config{
		"no driver":         {},
		"component":         {Driver: "d", Component: "sidecar"},
		"sample":            {Driver: "d", Sample: 1.5},
		"sample NaN":        {Driver: "d", Sample: math.NaN()},
		"endpoint URL":      {Driver: "d", OTLPEndpoint: "http://collector:4317"},
		"endpoint no port":  {Driver: "d", OTLPEndpoint: "collector"},
		"endpoint no host":  {Driver: "d", OTLPEndpoint: ":4317"},
		"endpoint bad port": {Driver: "d", OTLPEndpoint: "collector:otlp"},
		"endpoint port 0":   {Driver: "d", OTLPEndpoint: "collector:0"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(t.Context(), config); !errors.Is(err, actors.ErrInvalid) {
				t.Errorf("New = %v, want ErrInvalid", err)
			}
		})
	}
}
