// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/rds-csi/rds-csi/bench/instant"
	"github.com/rds-csi/rds-csi/bench/report"
	"github.com/rds-csi/rds-csi/bench/workload"
)

// driverName is the driver's in the report.
const driverName = "rds-csi"

// measure does everything: it starts the processes, lets the storms loose, and reports.
func measure(ctx context.Context, o options, stdout io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("the run was given up after --timeout %v", o.timeout))
	defer cancel()
	machine, err := describe(ctx, o)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o750); err != nil {
		return fmt.Errorf("make the directory for the report: %w", err)
	}
	dir, err := os.MkdirTemp("", "storm-")
	if err != nil {
		return fmt.Errorf("make a directory for sockets and disks: %w", err)
	}
	r, err := inDirectory(ctx, o, dir, machine, stdout)
	if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
		return err
	}
	return write(r, o.out, stdout)
}

// inDirectory measures with sockets and disks in a directory that is the caller's to remove.
func inDirectory(ctx context.Context, o options, dir string, machine report.Machine, stdout io.Writer) (r report.Report, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &cast{o: o, dir: dir, fail: cancel}
	defer func() { err = errors.Join(err, c.stop()) }()
	if err := c.start(ctx); err != nil {
		return r, cause(ctx, err)
	}
	driver, baseline, err := storms(ctx, o, c, stdout)
	if err != nil {
		return r, cause(ctx, err)
	}
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	if err := c.stop(); err != nil { // before their time is asked for
		return r, err
	}
	r = report.New(machine, report.Settings{
		Volumes: o.volumes, Nodes: o.nodes, Workers: o.workers, Rounds: o.rounds,
		ServiceTime: float64(o.serviceTime) / float64(time.Millisecond),
	}, driver, baseline)
	r.CPU = c.cpu()
	return r, nil
}

// cause puts the reason why everything was called off before the error that it led to.
func cause(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("%w (%v)", context.Cause(ctx), err) //nolint:errorlint // the second is the consequence
}

// storms lets the drivers take turns, so that what else the machine does meanwhile meets both.
func storms(ctx context.Context, o options, c *cast, stdout io.Writer) (driver, baseline report.Driver, err error) {
	driver.Name, baseline.Name = driverName, instant.Name
	base, err := workload.Connect(ctx, c.instantSocket())
	if err != nil {
		return driver, baseline, err
	}
	defer base.Close() //nolint:errcheck // the driver ends next
	tested, err := workload.Connect(ctx, c.driverSocket())
	if err != nil {
		return driver, baseline, err
	}
	defer tested.Close() //nolint:errcheck // as above

	for round := range o.rounds {
		if _, err := fmt.Fprintf(stdout, "storm %d of %d\n", round+1, o.rounds); err != nil {
			return driver, baseline, err
		}
		cfg := workload.Config{
			Volumes: o.volumes, Nodes: o.nodes, Workers: o.workers, Round: round,
			Parameters: map[string]string{"nvmePort": c.ports()},
		}
		if err := storm(ctx, base, cfg, &baseline); err != nil {
			return driver, baseline, err
		}
		cfg.Commands = c.commands
		if err := storm(ctx, tested, cfg, &driver); err != nil {
			return driver, baseline, err
		}
	}
	return driver, baseline, nil
}

func storm(ctx context.Context, conn *grpc.ClientConn, cfg workload.Config, d *report.Driver) error {
	phases, err := workload.Run(ctx, conn, cfg)
	if err != nil {
		return fmt.Errorf("storm on %s: %w", d.Name, err)
	}
	d.Rounds = append(d.Rounds, phases)
	return nil
}

// describe tells what is measured, and on what. It fails where the programs are missing.
func describe(ctx context.Context, o options) (report.Machine, error) {
	m := report.Machine{
		Platform: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version(), Load: load(),
	}
	version, err := exec.CommandContext(ctx, o.driver, "version").Output()
	if err != nil {
		return m, fmt.Errorf("ask %s for its version, is it built (make build)? %w", o.driver, err)
	}
	if _, err := exec.LookPath(o.box); err != nil {
		return m, fmt.Errorf("look for the simulated box, is it built (make build)? %w", err)
	}
	m.Driver = strings.TrimSpace(string(version))
	return m, nil
}

// load returns the system's load averages, or nothing where it does not tell.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(b))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

// write prints the table and puts the report into the directory.
func write(r report.Report, dir string, stdout io.Writer) error {
	plot := func(w io.Writer) error {
		return r.WritePlot(w, instant.Name, workload.Attach, workload.MigrateIn, workload.Detach)
	}
	for name, to := range map[string]func(io.Writer) error{
		"storm.json": r.WriteJSON, "storm.txt": r.WriteTable, "storm.svg": plot,
	} {
		if err := writeFile(filepath.Join(dir, name), to); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	if err := r.WriteTable(stdout); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	_, err := fmt.Fprintf(stdout, "\nalso in %s\n", strconv.Quote(dir))
	return err
}

func writeFile(path string, to func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(to(f), f.Close())
}
