// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
)

// A Config says which node. All fields are required.
type Config struct {
	Name    string // of the Kubernetes node
	Cluster string // the cluster's identity, by k8s.ClusterID
	Driver  string // name of the driver
	Dir     string // directory for the socket and what the plugin remembers; its path must leave room for a socket's
	Logger  *slog.Logger
}

// A Plugin is the node plugin of one node.
type Plugin struct {
	cfg     Config
	host    actors.Host
	devices *Devices
	service *csi.Node
	conn    *grpc.ClientConn
	cancel  context.CancelFunc
	served  chan error // has room for one
}

// Start starts a node plugin.
func Start(ctx context.Context, cfg Config) (*Plugin, error) {
	p := &Plugin{
		cfg: cfg, host: actors.HostOf(cfg.Cluster, actors.NodeID(cfg.Name)),
		devices: newDevices(), served: make(chan error, 1),
	}
	identity, err := csi.NewIdentity(csi.IdentityConfig{Name: cfg.Driver, Version: "e2e"})
	if err != nil {
		return nil, err
	}
	if p.service, err = csi.NewNode(csi.NodeConfig{
		Node: actors.NodeID(cfg.Name), Host: p.host, StateDir: filepath.Join(cfg.Dir, "state"), Timeout: 20 * time.Second,
		Devices: p.devices, Mounts: p.devices, Filesystems: p.devices, Surveyor: p.devices, Logger: cfg.Logger,
	}); err != nil {
		return nil, err
	}
	socket := "unix://" + filepath.Join(cfg.Dir, "csi.sock")
	server, err := csi.NewServer(ctx, csi.ServerConfig{Endpoint: socket, Identity: identity, Node: p.service, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.cancel = cancel
	go func() { p.served <- server.Serve(serving) }()
	if p.conn, err = grpc.NewClient(socket, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to the node plugin: %w", err), p.Close())
	}
	return p, nil
}

// Client returns a client of the Node service, over its socket.
func (p *Plugin) Client() csipb.NodeClient { return csipb.NewNodeClient(p.conn) }

// HostNQN is the name under which the node connects.
func (p *Plugin) HostNQN() string { return p.host.NQN }

// PowerOff ends all connections at once. Nothing is unmounted, and nobody is told.
func (p *Plugin) PowerOff() error { return p.devices.close() }

// Close ends the plugin and its connections.
func (p *Plugin) Close() error {
	var errs []error
	if p.conn != nil {
		errs = append(errs, p.conn.Close())
	}
	p.cancel()
	errs = append(errs, <-p.served)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return errors.Join(append(errs, p.service.Close(ctx), p.devices.close())...)
}
