// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/rds/sim"
	"github.com/rds-csi/rds-csi/telemetry"
)

const (
	demoCluster  = "de30de30de30"
	demoUser     = "rds-csi"
	demoPassword = "demo"
	demoPool     = "raid10"
	demoCapacity = 16 << 30
)

// A demoStage is what the story is played on: the box, the driver, a CSI client in the place of the
// sidecars, and the hosts.
type demoStage struct {
	out io.Writer
	err error // the first failure to print

	dir      string
	box      *sim.Sim
	nvme     string // address of the box's exports
	nodes    *actors.StaticNodes
	told     announcements
	recorder *telemetry.Recorder
	driver   *driver
	stop     context.CancelFunc
	done     chan struct{} // closed when the driver has ended
	ended    error         // why; read after done

	conn       *grpc.ClientConn
	controller csipb.ControllerClient
	tracer     trace.Tracer
	trace      trace.TraceID      // of the story
	metrics    map[string]float64 // before the story

	volume *csipb.Volume
	hosts  map[string]*demoHost
	fenced fence
}

// A fence is the moment when Unpublish had answered, as the lost host saw it.
type fence struct {
	at   time.Time
	seq  uint64 // of the last write that was begun before
	host string // NQN
}

func newStage(ctx context.Context, opts demoOptions, out io.Writer) (_ *demoStage, err error) {
	st := &demoStage{out: out, hosts: map[string]*demoHost{}, done: make(chan struct{}), nvme: sim.LoopbackHost(), recorder: telemetry.NewRecorder(0)}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.close())
		}
	}()
	if st.dir, err = os.MkdirTemp("", "rds-csi-demo-"); err != nil {
		return nil, fmt.Errorf("make a directory for the box: %w", err)
	}
	st.box, err = sim.Start(ctx, sim.Config{
		Dir: filepath.Join(st.dir, "box"), Capacity: demoCapacity, Pool: demoPool,
		Username: demoUser, Password: demoPassword, TLSAddr: "127.0.0.1:0", NVMeHost: st.nvme, Switches: opts.switches, Logger: opts.logger,
	})
	if err != nil {
		return nil, fmt.Errorf("start the simulated box: %w", err)
	}
	if st.nodes, err = actors.NewStaticNodes("node-a", "node-b", "node-c"); err != nil {
		return nil, err
	}
	if err := st.start(ctx, opts); err != nil {
		return nil, err
	}
	if st.metrics, err = st.scrape(ctx); err != nil {
		return nil, err
	}
	st.printf("A simulated RDS with %d GiB serves %s on %s.\n", demoCapacity>>30, demoServes[opts.transport], st.driver.cfg.box.Address)
	st.printf("The driver serves CSI on %s. Nothing of this needs Kubernetes.\n\n", st.endpoint())
	return st, nil
}

// start puts the driver together and runs it, as rds-csi controller does.
func (st *demoStage) start(ctx context.Context, opts demoOptions) error {
	var err error
	st.driver, err = newDriver(ctx, driverConfig{
		endpoint: st.endpoint(), driverName: csi.DefaultDriverName, cluster: demoCluster,
		box:        demoBox(st.box, opts.transport),
		boxAddress: "127.0.0.1", nvmeAddress: st.nvme, volumePath: "/" + demoPool, commandTimeout: 5 * time.Second,
		http: "127.0.0.1:0", otlp: opts.otlp, processors: []sdktrace.SpanProcessor{st.recorder}, logger: opts.logger,
		surroundings: func(*telemetry.Telemetry, observer) (surroundings, error) {
			return surroundings{nodes: st.nodes, announcers: []actors.Announcer{&st.told}}, nil
		},
	})
	if err != nil {
		return fmt.Errorf("start the driver: %w", err)
	}
	// It outlives ctx, so that an interrupted story can still be cleaned up after.
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	st.stop = stop
	go func() {
		defer close(st.done)
		st.ended = st.driver.Run(run)
	}()
	st.conn, err = grpc.NewClient(st.endpoint(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler(
			otelgrpc.WithTracerProvider(st.driver.tel.TracerProvider()), otelgrpc.WithPropagators(st.driver.tel.Propagator()))))
	if err != nil {
		return fmt.Errorf("reach the driver: %w", err)
	}
	st.tracer = st.driver.tel.Tracer("demo")
	st.controller = csipb.NewControllerClient(st.conn)
	return st.awaitReady(ctx)
}

// awaitReady asks Probe as the sidecars do.
func (st *demoStage) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, demoStepLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	identity := csipb.NewIdentityClient(st.conn)
	for {
		r, err := identity.Probe(ctx, &csipb.ProbeRequest{}, grpc.WaitForReady(true))
		if err != nil {
			return fmt.Errorf("probe the driver: %w", err)
		}
		if r.GetReady() == nil || r.GetReady().GetValue() {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the driver to be ready: %w", ctx.Err())
		}
	}
}

func (st *demoStage) endpoint() string { return "unix://" + filepath.Join(st.dir, "csi.sock") }

// close ends everything and leaves no file behind.
func (st *demoStage) close() error {
	var errs []error
	for _, h := range st.hosts {
		errs = append(errs, h.close())
	}
	if st.conn != nil {
		errs = append(errs, st.conn.Close())
	}
	if st.stop != nil {
		st.stop()
		<-st.done
		errs = append(errs, st.ended)
	}
	if st.box != nil {
		errs = append(errs, st.box.Close())
	}
	if st.dir != "" {
		errs = append(errs, os.RemoveAll(st.dir))
	}
	return errors.Join(errs...)
}

func (st *demoStage) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(st.out, format, args...); err != nil && st.err == nil {
		st.err = fmt.Errorf("print: %w", err)
	}
}

// addresses says what is reachable while the demo stays up.
func (st *demoStage) addresses() {
	st.printf("\nServing until interrupted:\n")
	st.printf("  metrics      http://%s/metrics\n", st.driver.http.Addr())
	st.printf("  health       http://%s/healthz\n", st.driver.http.Addr())
	st.printf("  CSI          %s\n", st.endpoint())
	st.printf("  box, TLS     %s (account %s, password %s)\n", st.box.TLSAddr(), demoUser, demoPassword)
	st.printf("  box, SSH     %s\n", st.box.SSHAddr())
	st.printf("  box, plain   %s\n", st.box.APIAddr())
}
