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
	"strings"
	"time"

	"github.com/rds-csi/rds-csi/rds"
)

// maxStaleLimit is the largest --stale-limit. Whoever wants more has not understood what it is for.
const maxStaleLimit = 1000

// controllerFlags are those of rds-csi controller.
type controllerFlags struct {
	commonFlags
	boxFlags
	nodes          string
	rdsAliases     string
	leaderElect    bool
	leaseNamespace string
	staleLimit     int
}

func (f *controllerFlags) register(fs *flag.FlagSet) {
	f.commonFlags.register(fs, ":9809")
	fs.StringVar(&f.nodes, "nodes", "", "the `nodes` that exist, comma-separated, where there is no Kubernetes")
	fs.BoolVar(&f.leaderElect, "leader-elect", true, "with Kubernetes, wait for the lease of the driver's name, so that several controllers may run; false: this is the only one")
	fs.StringVar(&f.leaseNamespace, "lease-namespace", "", "`namespace` of that lease; empty: the pod's")
	fs.IntVar(&f.staleLimit, "stale-limit", 3, "`grants` without a VolumeAttachment that are revoked by themselves once it is sure that they are left over; more at once wait for a person, 0: all do")
	f.boxFlags.register(fs)
	fs.StringVar(&f.rdsAliases, "rds-aliases", "", "other `addresses` of the same box that StorageClasses and older volumes name, comma-separated, as after it was renumbered")
}

func runController(ctx context.Context, args []string, _, stderr io.Writer) error {
	var f controllerFlags
	fs := flag.NewFlagSet("rds-csi controller", flag.ContinueOnError)
	f.register(fs)
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	logger, err := f.logger(stderr)
	if err != nil {
		return err
	}
	cfg, err := f.config(ctx, logger)
	if err != nil {
		return err
	}
	d, err := newDriver(ctx, cfg)
	if err != nil {
		return err
	}
	logger.Info("serving", "version", version, "endpoint", cfg.endpoint, "http", d.http.Addr(),
		"box", cfg.box.Address, "cluster-id", cfg.cluster, "stale-limit", f.staleLimit)
	return d.Run(ctx)
}

// config checks the flags and turns them into a driverConfig.
func (f *controllerFlags) config(ctx context.Context, logger *slog.Logger) (driverConfig, error) {
	cfg := driverConfig{
		endpoint: f.endpoint, driverName: f.driverName, nvmeAddress: f.nvmeAddress,
		commandTimeout: f.commandTimeout, quiet: f.commandTimeout, http: f.http, otlp: f.otlp, logger: logger,
	}
	if f.commandTimeout < time.Second || f.commandTimeout > time.Minute {
		return cfg, usageError{fmt.Errorf("--command-timeout %v is not between 1s and 1m", f.commandTimeout)}
	}
	if f.staleLimit < 0 || f.staleLimit > maxStaleLimit {
		return cfg, usageError{fmt.Errorf("--stale-limit %d is not between 0 and %d", f.staleLimit, maxStaleLimit)}
	}
	if cfg.staleLimit = f.staleLimit; cfg.staleLimit == 0 {
		cfg.staleLimit = -1 // none
	}
	paths := strings.Split(f.volumePath, ",")
	cfg.volumePath = paths[0]
	host, address, err := f.boxAddress()
	if err != nil {
		return cfg, err
	}
	cfg.boxAddress = host
	if f.rdsAliases != "" {
		cfg.boxAliases = strings.Split(f.rdsAliases, ",")
	}
	if f.rdsUser == "" {
		return cfg, usageError{errors.New("--rds-user is missing: name the box's account")}
	}
	if cfg.cluster, cfg.surroundings, err = f.around(ctx, logger); err != nil {
		return cfg, err
	}
	cfg.box = rds.Config{
		Address: address, Username: f.rdsUser, ReadPassword: func() (string, error) { return readSecret(f.rdsPassword) },
		Sessions: f.rdsSessions, Cluster: cfg.cluster, VolumePaths: paths, CommandTimeout: f.commandTimeout,
	}
	return cfg, f.sessions(&cfg.box, host)
}
