// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/rds-csi/rds-csi/actors"
)

const (
	// socketMode lets the sidecars of the pod connect, whose user may be another one of its group.
	socketMode = 0o660
	// staleDial is how long a socket file that is there already may take to show that somebody
	// serves it.
	staleDial          = time.Second
	defaultStopTimeout = 10 * time.Second
)

// ServerConfig configures a Server. Endpoint and Identity must be given.
type ServerConfig struct {
	// Endpoint is unix:// and the absolute path of the socket, or the path alone.
	Endpoint string

	Identity   csipb.IdentityServer
	Controller csipb.ControllerServer // nil: not served
	Node       csipb.NodeServer       // nil: not served

	// StopTimeout is how long running requests may go on when the server stops. Zero: 10 s.
	// Negative: not at all.
	StopTimeout time.Duration

	Logger         *slog.Logger         // nil: silent
	TracerProvider trace.TracerProvider // nil: no spans
	Hooks          Hooks
}

// A Server serves CSI services on a unix socket.
type Server struct {
	cfg      ServerConfig
	grpc     *grpc.Server
	listener *net.UnixListener
	path     string
	inode    os.FileInfo // of the socket that listener made
}

// NewServer binds the socket, in the place of one that nobody serves any more. A CO that connects
// waits until Serve is called. A Server that is never served must be closed. ctx bounds only the look
// whether a socket that is there is served; an error of kind ErrPrecondition says that it is, or that
// it is no socket.
func NewServer(ctx context.Context, cfg ServerConfig) (*Server, error) {
	if cfg.Identity == nil {
		return nil, fmt.Errorf("configure the server: the identity service is missing: %w", actors.ErrInvalid)
	}
	cfg = withDefaults(cfg)
	path, err := socketPath(cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("configure the server: %w", err)
	}
	s := &Server{cfg: cfg, path: path}
	if err := s.listen(ctx); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	s.grpc = grpc.NewServer(
		grpc.StatsHandler(otelgrpc.NewServerHandler(
			otelgrpc.WithTracerProvider(cfg.TracerProvider),
			otelgrpc.WithPropagators(propagation.TraceContext{}),
			otelgrpc.WithFilter(traced),
		)),
		grpc.UnaryInterceptor(s.serveOne),
	)
	csipb.RegisterIdentityServer(s.grpc, cfg.Identity)
	if cfg.Controller != nil {
		csipb.RegisterControllerServer(s.grpc, cfg.Controller)
	}
	if cfg.Node != nil {
		csipb.RegisterNodeServer(s.grpc, cfg.Node)
	}
	return s, nil
}

func withDefaults(cfg ServerConfig) ServerConfig {
	if cfg.StopTimeout == 0 {
		cfg.StopTimeout = defaultStopTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = noop.NewTracerProvider()
	}
	if cfg.Hooks.Operation == nil {
		cfg.Hooks.Operation = func(string, string, time.Duration) {}
	}
	return cfg
}

// traced leaves the Identity service out of the traces: a standby is probed once a second.
func traced(info *stats.RPCTagInfo) bool {
	return !strings.HasPrefix(info.FullMethodName, "/"+csipb.Identity_ServiceDesc.ServiceName+"/")
}

// socketPath returns the path of a unix endpoint.
func socketPath(endpoint string) (string, error) {
	path := strings.TrimPrefix(strings.TrimPrefix(endpoint, "unix:"), "//")
	if !filepath.IsAbs(path) || strings.HasSuffix(path, "/") {
		return "", fmt.Errorf("endpoint %.128q is not of the form unix:///csi/csi.sock: %w", endpoint, actors.ErrInvalid)
	}
	return filepath.Clean(path), nil
}

// listen makes the socket. It is never removed by the listener's Close, which would take away that
// of a successor.
func (s *Server) listen(ctx context.Context) error {
	if err := removeStale(ctx, s.path); err != nil {
		return err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.path, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	s.listener = l
	if err = os.Chmod(s.path, socketMode); err == nil {
		s.inode, err = os.Lstat(s.path)
	}
	if err != nil {
		return errors.Join(err, l.Close(), os.Remove(s.path))
	}
	return nil
}

// removeStale removes a socket that nobody serves. Anything else in its place is somebody's: a file
// is not removed, and a served socket is not taken over.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("there is a file that is not a socket: remove it or choose another endpoint: %w", actors.ErrPrecondition)
	}
	dialer := net.Dialer{Timeout: staleDial}
	if c, err := dialer.DialContext(ctx, "unix", path); err == nil {
		return errors.Join(fmt.Errorf("another process serves it: %w", actors.ErrPrecondition), c.Close())
	}
	return os.Remove(path)
}

// Serve serves until ctx ends, then lets running requests finish for StopTimeout, cuts off the rest,
// and removes the socket. It returns nil after ctx ended, and what failed otherwise. It is called once.
func (s *Server) Serve(ctx context.Context) error {
	failed := make(chan error, 1) // the result of the one Serve
	go func() { failed <- s.grpc.Serve(s.listener) }()
	s.cfg.Logger.InfoContext(ctx, "serving", "socket", s.path)
	var err error
	select {
	case err = <-failed:
		s.grpc.Stop()
	case <-ctx.Done():
		s.stop()
		err = <-failed // nil, since it was stopped
	}
	if err != nil {
		err = fmt.Errorf("serve %s: %w", s.path, err)
	}
	return errors.Join(err, s.removeOwn())
}

// stop ends the server, gracefully for as long as it may take. A handler that ignores the end of its
// context is left behind.
func (s *Server) stop() {
	drained := make(chan struct{}) // closed when the last request has ended
	go func() {
		defer close(drained)
		s.grpc.GracefulStop()
	}()
	timer := time.NewTimer(max(s.cfg.StopTimeout, 0))
	defer timer.Stop()
	select {
	case <-drained:
		return
	case <-timer.C:
		s.cfg.Logger.Warn("requests cut off", "after", s.cfg.StopTimeout)
	}
	s.grpc.Stop()
}

// Close gives the socket up without serving it.
func (s *Server) Close() error {
	s.grpc.Stop()
	return errors.Join(s.listener.Close(), s.removeOwn())
}

// removeOwn removes the socket, unless another one stands in its place.
func (s *Server) removeOwn() error {
	info, err := os.Lstat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for the socket: %w", err)
	}
	// An inode number may be used again at once, a time is not.
	if !os.SameFile(info, s.inode) || !info.ModTime().Equal(s.inode.ModTime()) {
		return nil
	}
	if err := os.Remove(s.path); err != nil {
		return fmt.Errorf("remove the socket: %w", err)
	}
	return nil
}
