// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"golang.org/x/crypto/ssh"

	"github.com/rds-csi/rds-csi/rds/sim"
)

// A way is a transport to a box, with the flags of somebody who has it right.
type way struct {
	name    string
	address func(*sim.Sim) string
	flags   func(*sim.Sim) []string
}

var ways = []way{
	{"api", (*sim.Sim).APIAddr, func(*sim.Sim) []string { return []string{"--rds-plain"} }},
	{"api-tls", (*sim.Sim).TLSAddr, func(s *sim.Sim) []string { return []string{"--rds-ca-file=" + s.CertificateFile()} }},
	{"ssh", (*sim.Sim).SSHAddr, func(s *sim.Sim) []string {
		return []string{"--rds-transport=ssh", "--rds-ssh-host-key=" + ssh.FingerprintSHA256(s.HostKey())}
	}},
}

// A watched controller is one of which everything that it tells is kept: its log, traces, metrics, and the
// errors of requests.
type watched struct {
	process
	t        *testing.T
	password string // the file
	driver   *driver
	log      lockedLog
	spans    *tracetest.SpanRecorder
	errors   strings.Builder
	over     chan error
	cancel   func()
}

// watch starts a controller with flags, the right password in its file, on the box at an address.
func watch(t *testing.T, address string, flags ...string) *watched {
	t.Helper()
	dir := t.TempDir()
	w := &watched{
		t: t, process: process{endpoint: "unix://" + filepath.Join(dir, "csi.sock")}, password: filepath.Join(dir, "password"),
		spans: tracetest.NewSpanRecorder(), over: make(chan error, 1),
	}
	if err := os.WriteFile(w.password, []byte(testPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var f controllerFlags
	fs := flag.NewFlagSet("controller", flag.ContinueOnError)
	f.register(fs)
	if err := parse(fs, append([]string{
		"--kubernetes=false", "--rds-address=" + address, "--rds-user=" + testUser, "--rds-password-file=" + w.password,
		"--endpoint=" + w.endpoint, "--http-address=127.0.0.1:0", "--nodes=node-a", "--cluster-id=0123456789ab",
		"--command-timeout=1s",
	}, flags...), io.Discard); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	w.cancel = cancel
	cfg, err := f.config(ctx, slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err == nil {
		cfg.processors = []sdktrace.SpanProcessor{w.spans}
		w.driver, err = newDriver(ctx, cfg)
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	go func() { w.over <- w.driver.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-w.over; err != nil {
			t.Errorf("the controller failed: %v", err)
		}
	})
	t.Cleanup(w.stop)
	w.dial(t)
	return w
}

// alive checks that the process says that it is.
func (w *watched) alive() {
	w.t.Helper()
	if status, page := w.get("/healthz"); status != http.StatusOK {
		w.t.Errorf("/healthz is %d %s", status, page)
	}
}

// get asks the controller's HTTP server.
func (w *watched) get(path string) (status int, page string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+w.driver.http.Addr()+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// tellsNo ends the controller and checks that nothing of what it told holds a secret.
func (w *watched) tellsNo(secrets ...string) {
	w.t.Helper()
	_, metrics := w.get("/metrics")
	w.stop()
	told := map[string]string{"log": w.log.String(), "errors": w.errors.String(), "metrics": metrics}
	for _, s := range w.spans.Ended() {
		told["traces"] += fmt.Sprintf("%s %v %v %v\n", s.Name(), s.Attributes(), s.Events(), s.Status())
	}
	for _, what := range []string{"log", "errors", "metrics", "traces"} {
		if len(told[what]) < 20 {
			w.t.Errorf("%s is %q: nothing to search", what, told[what])
		}
		for _, secret := range secrets {
			if strings.Contains(told[what], secret) {
				w.t.Errorf("%s tells a secret:\n%s", what, told[what])
			}
		}
	}
}

// A relay passes connections on to a target that may change, so that another box answers at the address.
type relay struct {
	addr string

	mu     sync.Mutex
	target string
	conns  map[net.Conn]struct{}
}

// startRelay begins to pass on to a target. It ends with the test.
func startRelay(t *testing.T, target string) *relay {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: ln.Addr().String(), target: target, conns: map[net.Conn]struct{}{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { r.pass(conn) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		r.point("")
		wg.Wait()
	})
	return r
}

// point changes the target, and ends every connection.
func (r *relay) point(target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = target
	for c := range r.conns {
		_ = c.Close()
	}
}

// pass carries one connection until an end of it is closed.
func (r *relay) pass(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	r.mu.Lock()
	target := r.target
	r.mu.Unlock()
	peer, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = peer.Close() }()
	r.mu.Lock()
	if r.target != target {
		r.mu.Unlock()
		return
	}
	r.conns[conn], r.conns[peer] = struct{}{}, struct{}{}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.conns, conn)
		delete(r.conns, peer)
	}()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{conn, peer}, {peer, conn}} {
		wg.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // until one of them is closed
			_ = way[0].Close()
			_ = way[1].Close()
		})
	}
	wg.Wait()
}
