// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"golang.org/x/sync/errgroup"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/k8s"
	"github.com/rds-csi/rds-csi/rds"
	"github.com/rds-csi/rds-csi/telemetry"
)

// A driverConfig says how to put a controller together.
type driverConfig struct {
	endpoint   string
	driverName string
	cluster    string

	box            rds.Config // Hooks, Tracer and Logger are filled in
	boxAddress     string     // without a port, for volume contexts
	boxAliases     []string   // the same, as older volume contexts have it
	nvmeAddress    string
	volumePath     string
	commandTimeout time.Duration
	staleLimit     int           // of the supervisor
	quiet          time.Duration // how long a command of an earlier process may land; 0: there was none

	surroundings makeSurroundings

	http       string
	otlp       string
	processors []sdktrace.SpanProcessor
	logger     *slog.Logger
}

// makeSurroundings makes the surroundings of a controller, which is told of what they see while their tasks
// run.
type makeSurroundings func(*telemetry.Telemetry, observer) (surroundings, error)

// Surroundings are what a controller knows of the cluster.
type surroundings struct {
	orchestrator actors.Orchestrator // nil: the ledger alone decides
	nodes        actors.Nodes
	announcers   []actors.Announcer            // who tells people in the cluster
	inherited    func([]actors.Announcement)   // who tells them what an earlier process may not have told; nil: nobody
	lease        *k8s.Lease                    // nil: this is the only controller
	synced       func() bool                   // the caches are filled; nil: there are none
	tasks        []func(context.Context) error // what must run for the others to work
	frozen       func(context.Context) error   // why nothing is revoked by itself; nil: it may be
}

// A driver is a controller: the box, the supervisor of all volumes, and the CSI services around it.
type driver struct {
	cfg    driverConfig
	around surroundings
	tel    *telemetry.Telemetry
	box    *rds.Box
	sup    *actors.Supervisor
	server *csi.Server
	http   *telemetry.Server
}

// newDriver puts a controller together and opens its ports. Close or Run must follow.
func newDriver(ctx context.Context, cfg driverConfig) (_ *driver, err error) {
	d := &driver{cfg: cfg}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.tel, err = d.newTelemetry(ctx); err != nil {
		return nil, err
	}
	if d.around, err = cfg.surroundings(d.tel, d); err != nil {
		return nil, err
	}
	if d.box, err = d.newBox(); err != nil {
		return nil, err
	}
	if d.sup, err = d.newSupervisor(); err != nil {
		return nil, err
	}
	if d.server, err = d.newServer(ctx); err != nil {
		return nil, err
	}
	if d.http, err = d.tel.Listen(ctx, cfg.http); err != nil {
		return nil, err
	}
	return d, nil
}

// newTelemetry is first, since all others report to it. Its gauges are read when d is complete.
func (d *driver) newTelemetry(ctx context.Context) (*telemetry.Telemetry, error) {
	stats := func(pick func(actors.Stats) int) func() int {
		return func() int { return pick(d.sup.Stats()) }
	}
	return telemetry.New(ctx, telemetry.Config{
		Component: telemetry.Controller, Version: version, Driver: d.cfg.driverName,
		OTLPEndpoint: d.cfg.otlp, OTLPInsecure: true, Processors: d.cfg.processors, Logger: d.cfg.logger,
		Gauges: telemetry.Gauges{
			Leader:           d.leads,
			Actors:           stats(func(s actors.Stats) int { return s.Actors }),
			ActiveMigrations: stats(func(s actors.Stats) int { return s.Migrating }),
			Unresolved:       stats(func(s actors.Stats) int { return s.Unresolved }),
			StaleHeld:        stats(func(s actors.Stats) int { return s.StaleHeld }),
			Quarantined:      stats(func(s actors.Stats) int { return s.Quarantined }),
			QueueDepth:       stats(func(s actors.Stats) int { return s.Waiting }),
			QueueDepthMax:    stats(func(s actors.Stats) int { return s.MostWaiting }),
			QueueAge:         func() time.Duration { return d.sup.Stats().Oldest },
		},
	})
}

func (d *driver) newBox() (*rds.Box, error) {
	cfg := d.cfg.box
	cfg.Logger = d.cfg.logger
	cfg.Tracer = d.tel.Tracer("rds")
	if d.around.lease != nil {
		cfg.MayChange = d.around.lease.MayWrite
	}
	cfg.Hooks = rds.Hooks{
		Command: d.tel.Command, Reconnect: d.tel.Reconnect, Sessions: d.tel.Sessions, Wait: d.tel.SessionWait,
		Connection: func(address string, up bool) {
			d.tel.Connection(address, up)
			if up && d.sup != nil {
				d.sup.Reconcile() // the box may have come back with an older configuration
			}
		},
	}
	return rds.New(cfg)
}

func (d *driver) newSupervisor() (*actors.Supervisor, error) {
	return actors.New(actors.Config{
		Box: d.box, Nodes: d.around.nodes, Orchestrator: d.around.orchestrator, Cluster: d.cfg.cluster,
		CommandTimeout: d.cfg.commandTimeout, Quiet: d.cfg.quiet,
		StaleLimit: d.cfg.staleLimit, Frozen: d.around.frozen,
		Inherited: d.around.inherited,
		Announcer: d, Logger: d.cfg.logger, Tracer: d.tel.Tracer("actors"),
		Hooks: actors.Hooks{
			MailboxWait: d.tel.MailboxWait, Joined: d.tel.Joined, Panicked: d.tel.Panicked,
			Held: func() { d.tel.Reconciled("hold") },
		},
	})
}

// Announce tells the metrics, and the cluster where there is one.
func (d *driver) Announce(a actors.Announcement) {
	d.tel.Announce(a)
	for _, announcer := range d.around.announcers {
		announcer.Announce(a)
	}
}

func (d *driver) newServer(ctx context.Context) (*csi.Server, error) {
	identity, err := csi.NewIdentity(csi.IdentityConfig{Name: d.cfg.driverName, Version: version, Ready: d.ready})
	if err != nil {
		return nil, err
	}
	controller, err := csi.NewController(csi.Config{
		Volumes: d.sup, Storage: d.box, Cluster: d.cfg.cluster, Ready: d.ready,
		BoxAddress: d.cfg.boxAddress, BoxAliases: d.cfg.boxAliases, NVMeAddress: d.cfg.nvmeAddress, VolumePath: d.cfg.volumePath,
	})
	if err != nil {
		return nil, err
	}
	return csi.NewServer(ctx, csi.ServerConfig{
		Endpoint: d.cfg.endpoint, Identity: identity, Controller: controller,
		Logger: d.cfg.logger, TracerProvider: d.tel.TracerProvider(), Hooks: csi.Hooks{Operation: d.tel.Operation},
	})
}

// Run serves until ctx is done or a part fails, and returns when nothing runs any more.
func (d *driver) Run(ctx context.Context) error {
	defer d.close()
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return d.lead(ctx) })
	tasks.Go(func() error { return d.server.Serve(ctx) })
	tasks.Go(func() error { return d.http.Run(ctx) })
	for _, task := range d.around.tasks {
		tasks.Go(func() error { return task(ctx) })
	}
	if err := tasks.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// Recheck implements observer.
func (d *driver) Recheck() {
	if d.sup != nil {
		d.sup.Recheck()
	}
}

// Outcome implements observer.
func (d *driver) Outcome(id actors.VolumeID, m actors.Migration) { d.sup.Outcome(id, m) }

// lead decides over volumes while nobody else does.
func (d *driver) lead(ctx context.Context) error {
	if d.around.lease == nil {
		return d.sup.Run(ctx)
	}
	return d.around.lease.Run(ctx, d.sup.Run)
}

// leads reports whether this controller is the one that decides.
func (d *driver) leads() bool { return d.around.lease == nil || d.around.lease.Leading() }

// ready reports whether requests are answered: by the one controller that leads, when it knows the
// cluster. The box may be away.
func (d *driver) ready() bool {
	return d.leads() && (d.around.synced == nil || d.around.synced())
}

// close gives back what was opened, also by half.
func (d *driver) close() {
	if d.http != nil {
		_ = d.http.Close() // closed already where it was served
	}
	if d.server != nil {
		_ = d.server.Close()
	}
	if d.box != nil {
		d.box.Close()
	}
	if d.tel != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := d.tel.Shutdown(ctx); err != nil {
			d.cfg.logger.Warn("some spans were not sent", "error", err)
		}
	}
}
