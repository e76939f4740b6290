// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/k8s"
	"github.com/rds-csi/rds-csi/nvme"
	"github.com/rds-csi/rds-csi/telemetry"
)

// nodeFlags are those of rds-csi node.
type nodeFlags struct {
	commonFlags
	node     string
	stateDir string
}

func (f *nodeFlags) register(fs *flag.FlagSet) {
	f.commonFlags.register(fs, ":9810")
	fs.StringVar(&f.node, "node-id", "", "the Kubernetes node `name`")
	fs.StringVar(&f.stateDir, "state-dir", "", "`directory`, kept over restarts, for what the node must remember")
}

func runNode(ctx context.Context, args []string, _, stderr io.Writer) error {
	var f nodeFlags
	fs := flag.NewFlagSet("rds-csi node", flag.ContinueOnError)
	f.register(fs)
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	logger, err := f.logger(stderr)
	if err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	cluster, client, err := f.identify(ctx, logger)
	if err != nil {
		return err
	}
	host := actors.HostOf(cluster, actors.NodeID(f.node))
	devices, err := nvme.NewDevices(nvme.Config{Prober: prober{}, Logger: logger})
	if err != nil {
		return err
	}
	tel, err := telemetry.New(ctx, telemetry.Config{
		Component: telemetry.Node, Version: version, Driver: f.driverName, Instance: f.node,
		OTLPEndpoint: f.otlp, OTLPInsecure: true, Logger: logger,
		Gauges: telemetry.Gauges{NVMeConnections: func() int { return devices.Live(host.NQN) }},
	})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := tel.Shutdown(ctx); err != nil {
			logger.Warn("some spans were not sent", "error", err)
		}
	}()
	events, err := f.newEvents(client, tel, logger)
	if err != nil {
		return err
	}
	node, err := f.newNode(host, devices, events, tel, logger)
	if err != nil {
		return err
	}
	logger.Info("starting", "version", version, "node-id", f.node, "cluster-id", cluster, "host-nqn", host.NQN)
	return f.serve(ctx, node, events, tel, logger)
}

func (f *nodeFlags) check() error {
	if f.node == "" {
		return usageError{errors.New("--node-id is missing: give the Kubernetes node name")}
	}
	if err := actors.NodeID(f.node).Check(); err != nil {
		return usageError{fmt.Errorf("--node-id: %w", err)}
	}
	if f.stateDir == "" {
		return usageError{errors.New("--state-dir is missing: name a directory that outlives the process")}
	}
	return nil
}

// newNode puts the node service together on this machine's kernel.
func (f *nodeFlags) newNode(host actors.Host, devices *nvme.Devices, events *k8s.Events, tel *telemetry.Telemetry, logger *slog.Logger) (*csi.Node, error) {
	mounts, err := nvme.NewMounts(nvme.MountConfig{Logger: logger})
	if err != nil {
		return nil, err
	}
	boot, err := nvme.BootID("")
	if err != nil {
		logger.Warn("a volume that was lost cannot be told from one before a reboot", "error", err)
	}
	return csi.NewNode(csi.NodeConfig{
		Node: actors.NodeID(f.node), Host: host, StateDir: f.stateDir, Boot: boot,
		Devices: observedDevices{devices, tel}, Mounts: observedMounts{mounts, tel},
		Filesystems: observedFilesystems{mounts, tel}, Surveyor: mounts,
		Hooks: f.hooks(tel, events, logger), Logger: logger,
		StaleMount: func(err error) {
			tel.StaleMount()
			tel.StaleRecovery(err)
		},
	})
}

// serve serves, and looks after the node's volumes, until ctx is done, and waits for operations under way.
func (f *nodeFlags) serve(ctx context.Context, node *csi.Node, events *k8s.Events, tel *telemetry.Telemetry, logger *slog.Logger) error {
	identity, err := csi.NewIdentity(csi.IdentityConfig{Name: f.driverName, Version: version})
	if err != nil {
		return err
	}
	http, err := tel.Listen(ctx, f.http)
	if err != nil {
		return err
	}
	server, err := csi.NewServer(ctx, csi.ServerConfig{
		Endpoint: f.endpoint, Identity: identity, Node: node, Logger: logger,
		TracerProvider: tel.TracerProvider(), Hooks: csi.Hooks{Operation: tel.Operation},
	})
	if err != nil {
		return errors.Join(err, http.Close())
	}
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return server.Serve(ctx) })
	tasks.Go(func() error { return http.Run(ctx) })
	tasks.Go(func() error { return node.Watch(ctx) })
	if events != nil {
		tasks.Go(func() error { return events.Run(ctx) })
	}
	err = tasks.Wait()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return errors.Join(err, node.Close(stop))
}
