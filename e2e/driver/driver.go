// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rds-csi/rds-csi/e2e/controlplane"
	"github.com/rds-csi/rds-csi/e2e/manifests"
)

// A Config says what to run. All fields but Args and Env are required.
type Config struct {
	Set     *manifests.Set // with the box filled in, and applied
	Control *controlplane.ControlPlane
	Binary  string   // rds-csi
	Tools   string   // directory of the sidecars
	Dir     string   // directory for logs and volumes, which is made; its path must leave room for a socket's
	Host    string   // IP address of the loopback range, for metrics
	Args    []string // more arguments for rds-csi, which win over those of its container
	Env     []string // more of the environment of rds-csi, "name=value"
}

// A Driver is the controller's pod.
type Driver struct {
	cfg      Config
	http     string // address of metrics and health
	driver   *container
	sidecars []*container
	client   *http.Client
}

// main is the container of the driver itself. The others are sidecars.
const main = "rds-csi"

// sidecarArgs let a sidecar ask again soon after it was refused. In a cluster it takes up to five minutes.
var sidecarArgs = []string{"--retry-interval-start=250ms", "--retry-interval-max=2s"}

// New returns the controller's pod, which does not run yet.
func New(ctx context.Context, cfg Config) (*Driver, error) {
	deployment, err := cfg.Set.Controller()
	if err != nil {
		return nil, err
	}
	spec := deployment.Spec.Template.Spec
	pod, err := cfg.Set.Pod(spec, cfg.Dir)
	if err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(cfg.Dir, "kubeconfig")
	if err := cfg.Control.Kubeconfig(ctx, deployment.Namespace, spec.ServiceAccountName, kubeconfig); err != nil {
		return nil, err
	}
	d := &Driver{cfg: cfg, client: &http.Client{Transport: &http.Transport{}}}
	for _, c := range spec.Containers {
		args, err := pod.Args(c.Name)
		if err != nil {
			return nil, err
		}
		args = append(args, "--kubeconfig="+kubeconfig)
		if c.Name != main {
			args = append(args, sidecarArgs...)
			path := filepath.Join(cfg.Tools, c.Name)
			d.sidecars = append(d.sidecars, newContainer(c.Name, controlplane.NewComponent(path, cfg.Dir, c.Name, args...), false))
			continue
		}
		args = append(d.here(args), cfg.Args...)
		if !slices.Contains(args, "--leader-elect=false") {
			args = append(args, "--lease-namespace="+deployment.Namespace) // which a file tells in a pod
		}
		program := controlplane.NewComponent(cfg.Binary, cfg.Dir, c.Name, args...)
		program.Env = cfg.Env
		d.driver = newContainer(c.Name, program, true)
	}
	if d.driver == nil || d.http == "" {
		return nil, fmt.Errorf("the Deployment has no container %s with an --http-address", main)
	}
	return d, nil
}

// here moves the address of metrics from all of the pod's addresses to that of the Config.
func (d *Driver) here(args []string) []string {
	for i, arg := range args {
		if port, ok := strings.CutPrefix(arg, "--http-address=:"); ok {
			d.http = d.cfg.Host + ":" + port
			args[i] = "--http-address=" + d.http
		}
	}
	return args
}

// Start starts what does not run and returns when the driver is ready, which it is when it leads.
func (d *Driver) Start(ctx context.Context) error {
	if err := d.Run(); err != nil {
		return err
	}
	return d.awaitReady(ctx)
}

// Run starts what does not run.
func (d *Driver) Run() error {
	for _, c := range append([]*container{d.driver}, d.sidecars...) {
		if err := c.start(); err != nil {
			return err
		}
	}
	return nil
}

// Freeze lets the driver, without its sidecars, do nothing any more, until it is thawed or killed.
func (d *Driver) Freeze(frozen bool) error { return d.driver.program.Freeze(frozen) }

func (d *Driver) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := d.get(ctx, "/readyz")
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("start the driver: %w: %w", err, errors.Join(d.driver.program.Err(), ctx.Err()))
		}
	}
}

// Kill ends the driver as a crash of its node would: with SIGKILL. The sidecars stay.
func (d *Driver) Kill() error { return d.driver.stop(true) }

// Crash ends a sidecar with SIGKILL. It is started again, as after any end of its own.
func (d *Driver) Crash(name string) error {
	for _, c := range d.sidecars {
		if c.name == name {
			return c.program.Kill()
		}
	}
	return fmt.Errorf("the pod has no sidecar %s", name)
}

// Lost reports whether a process of the driver has ended otherwise than by Stop, and with it what it had not
// let out.
func (d *Driver) Lost() bool { return d.driver.lost.Load() }

// Stop ends the pod, the sidecars first.
func (d *Driver) Stop() error {
	d.client.CloseIdleConnections()
	var errs []error
	for _, c := range d.sidecars {
		errs = append(errs, c.stop(false))
	}
	return errors.Join(append(errs, d.driver.stop(false))...)
}

// Log returns where the driver's log is.
func (d *Driver) Log() string { return filepath.Join(d.cfg.Dir, main+".log") }

// Said reports whether the driver's log holds a text.
func (d *Driver) Said(text string) (bool, error) {
	log, err := os.ReadFile(d.Log())
	return strings.Contains(string(log), text), err
}

// Metrics returns the value of each series.
func (d *Driver) Metrics(ctx context.Context) (map[string]float64, error) {
	resp, err := d.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	series := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if line == "" || line[0] == '#' || at < 0 {
			continue
		}
		if series[line[:at]], err = strconv.ParseFloat(line[at+1:], 64); err != nil {
			return nil, fmt.Errorf("read the metrics: %q: %w", line, err)
		}
	}
	return series, lines.Err()
}

// get asks the driver. Whatever is not OK is an error.
func (d *Driver) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.http+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the driver for %s: %w", path, err)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the driver for %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("ask the driver for %s: %s", path, resp.Status), resp.Body.Close())
	}
	return resp, nil
}
