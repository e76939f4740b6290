// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Timeouts of the HTTP port. A scrape is a few hundred kilobytes at most.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	drainTimeout  = 2 * time.Second
	maxHeader     = 16 << 10 // bytes
)

var index = template.Must(template.New("index").Parse(`<!DOCTYPE html>
<html lang="en">
<title>rds-csi {{.Component}}</title>
<h1>rds-csi {{.Component}}</h1>
<p>Driver {{.Driver}}, version {{.Version}}, on {{.Instance}}: {{if .NotReady}}not ready: {{.NotReady}}{{else}}ready{{end}}.</p>
<ul>
<li><a href="/metrics">/metrics</a>: for Prometheus</li>
<li><a href="/healthz">/healthz</a>: 200 while the process serves</li>
<li><a href="/readyz">/readyz</a>: 200 when it can do its work, otherwise 503 and the reason</li>
</ul>
</html>
`))

// Handler serves /metrics, /healthz, /readyz, and an index that names them.
func (t *Telemetry) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true,
		ErrorHandling:     promhttp.ContinueOnError,
		ErrorLog:          slog.NewLogLogger(t.config.Logger.Handler(), slog.LevelWarn),
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := t.ready(); err != nil {
			answer(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		page := struct {
			Config
			NotReady string
		}{Config: t.config}
		if err := t.ready(); err != nil {
			page.NotReady = err.Error()
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if err := index.Execute(w, page); err != nil {
			t.config.Logger.Debug("index page was not written", "error", err)
		}
	})
	return mux
}

func (t *Telemetry) ready() error {
	if t.config.Ready == nil {
		return nil
	}
	return t.config.Ready()
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	fmt.Fprintln(w, text) //nolint:errcheck // a client that went away does not want to know
}

// A Server is the HTTP port.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen opens the HTTP port at an address like ":9809" or "127.0.0.1:9809". "" is a free port on the
// loopback interface. The port answers once Run runs.
func (t *Telemetry) Listen(ctx context.Context, address string) (*Server, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics and health: %w", err)
	}
	return &Server{listener: listener, http: &http.Server{
		Handler:           t.Handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(t.config.Logger.Handler(), slog.LevelDebug),
	}}, nil
}

// Addr returns host:port of the open port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Run serves until ctx ends, lets requests finish for two seconds, and returns nil. It returns an
// error where serving failed before. It must be called once, or else Close.
func (s *Server) Run(ctx context.Context) error {
	failed := make(chan error, 1) // closed by no one: room for Serve's one answer
	go func() { failed <- s.http.Serve(s.listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve metrics and health: %w", err)
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil { // some requests were not done in time
		if err := s.http.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("close the port for metrics and health: %w", err)
		}
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics and health: %w", err)
	}
	return nil
}

// Close closes a port that was never run.
func (s *Server) Close() error { return s.listener.Close() }
