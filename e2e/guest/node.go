// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/e2e/await"
	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/e2e/guest/initrd"
	"github.com/rds-csi/rds-csi/e2e/guest/machine"
)

// A Config says which node. All fields are required.
type Config struct {
	Parts   Parts    // which were built
	Kernel  string   // one of Kernels
	Name    string   // the node's ID
	Dir     string   // directory for logs and sockets, which is made; its path must leave room for a socket's
	Cluster string   // the cluster's identity
	Driver  []string // more arguments for the node plugin
}

// A Node is a guest in which the node plugin runs.
type Node struct {
	*machine.Machine
	cfg  Config
	conn *grpc.ClientConn
}

// Plugin is the name under which the node plugin runs: see api.Log.
const Plugin = "rds-csi-node"

// Where things are in a guest.
const (
	driverPath  = "/usr/local/bin/rds-csi"
	driverState = "/var/lib/rds-csi"
	socket      = "/run/csi/csi.sock"
	socketPort  = 10000
	httpPort    = 9810
)

// Boot boots a node and returns when its plugin answers.
func Boot(ctx context.Context, cfg Config) (_ *Node, err error) {
	image, err := initrd.Image(filepath.Join(cfg.Parts.Fetched, cfg.Kernel))
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg}
	if n.Machine, err = machine.Start(ctx, machine.Config{
		QEMU: cfg.Parts.QEMU, Image: image, Initrd: cfg.Parts.initrd(cfg.Kernel), Dir: cfg.Dir, Ports: []int{socketPort, httpPort, diskPort},
	}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start node %s: %w", cfg.Name, err), n.KeepLogs(ctx), n.Kill())
		}
	}()
	if err := n.Call(ctx, api.MakeDir, api.Path{Path: filepath.Dir(socket)}, nil); err != nil {
		return nil, err
	}
	if err := n.Call(ctx, api.Forward, api.Forwarding{Port: socketPort, Socket: socket}, nil); err != nil {
		return nil, err
	}
	if n.conn, err = grpc.NewClient("passthrough:///"+n.Address(socketPort), grpc.WithTransportCredentials(insecure.NewCredentials()), soonAgain); err != nil {
		return nil, err
	}
	return n, n.StartPlugin(ctx)
}

// soonAgain lets calls find a plugin soon that was away.
var soonAgain = grpc.WithConnectParams(grpc.ConnectParams{
	Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1, MaxDelay: 50 * time.Millisecond}, MinConnectTimeout: 5 * time.Second,
})

// StartPlugin starts the node plugin and returns when it answers.
func (n *Node) StartPlugin(ctx context.Context) error {
	args := []string{
		driverPath, "node", "--kubernetes=false", "--cluster-id=" + n.cfg.Cluster, "--node-id=" + n.cfg.Name,
		"--endpoint=unix://" + socket, "--state-dir=" + driverState, "--http-address=:" + strconv.Itoa(httpPort), "--log-level=debug",
	}
	if err := n.Call(ctx, api.Start, api.Program{Name: Plugin, Args: slices.Concat(args, n.cfg.Driver)}, nil); err != nil {
		return err
	}
	return await.Nil(ctx, func(ctx context.Context) error {
		resp, err := n.Identity().Probe(ctx, &csipb.ProbeRequest{})
		if err == nil && !resp.GetReady().GetValue() {
			err = errors.New("the node plugin is not ready")
		}
		return err
	})
}

// KillPlugin ends the node plugin as a crash does.
func (n *Node) KillPlugin(ctx context.Context) error {
	return n.Call(ctx, api.Kill, api.Name{Name: Plugin, Signal: int(syscall.SIGKILL)}, nil)
}

// SignalPlugin sends the node plugin SIGKILL and does not wait for its end, which may be far: a call into the kernel under
// way is finished first.
func (n *Node) SignalPlugin(ctx context.Context) error {
	return n.Call(ctx, api.Signal, api.Name{Name: Plugin, Signal: int(syscall.SIGKILL)}, nil)
}

// Name is the node's ID.
func (n *Node) Name() string { return n.cfg.Name }

// HostNQN is the name under which the node connects.
func (n *Node) HostNQN() string { return n.Host().NQN }

// Host is the identity under which the node connects.
func (n *Node) Host() actors.Host { return actors.HostOf(n.cfg.Cluster, actors.NodeID(n.cfg.Name)) }

// Client returns a client of the Node service.
func (n *Node) Client() csipb.NodeClient { return csipb.NewNodeClient(n.conn) }

// Identity returns a client of the Identity service.
func (n *Node) Identity() csipb.IdentityClient { return csipb.NewIdentityClient(n.conn) }

// Metrics asks the node plugin for its metrics, as Prometheus does.
func (n *Node) Metrics(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.Address(httpPort)+"/metrics", nil)
	if err != nil {
		return "", fmt.Errorf("ask for metrics: %w", err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask for metrics: %w", err)
	}
	text, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	if err != nil {
		return "", fmt.Errorf("ask for metrics: %w", err)
	}
	return string(text), nil
}

// Log returns what the plugin has printed.
func (n *Node) Log(ctx context.Context) (string, error) {
	var log api.Content
	if err := n.Call(ctx, api.Read, api.Path{Path: api.Log(Plugin)}, &log); err != nil {
		return "", fmt.Errorf("read the log of the node plugin: %w", err)
	}
	return string(log.Data), nil
}

// KeepLogs copies what the plugin printed out of the guest, to where the kernel's messages are.
func (n *Node) KeepLogs(ctx context.Context) error {
	log, err := n.Log(ctx)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(n.cfg.Dir, Plugin+".log"), []byte(log), 0o600)
}

// Kill turns the node off as pulling its plug does.
func (n *Node) Kill() error { return errors.Join(n.disconnect(), n.Machine.Kill()) }

// PowerOff turns the node off, with nothing unmounted.
func (n *Node) PowerOff(ctx context.Context) error {
	return errors.Join(n.disconnect(), n.Machine.PowerOff(ctx))
}

func (n *Node) disconnect() error {
	if n.conn == nil {
		return nil
	}
	conn := n.conn
	n.conn = nil
	return conn.Close()
}
