// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rds-csi/rds-csi/bench/process"
	"github.com/rds-csi/rds-csi/bench/report"
	"github.com/rds-csi/rds-csi/bench/workload"
)

const (
	clusterID   = "0123456789ab"
	boxUser     = "storm"
	scrapeLimit = 30 * time.Second
)

// A cast is the processes of a run: the simulated box, the controller, and the driver that answers
// at once.
type cast struct {
	o    options
	dir  string
	fail context.CancelCauseFunc // calls the run off when a process ends too early

	http      string // host:port of the controller's metrics
	firstPort int    // of as many for exports as there are volumes
	stopping  chan struct{}
	running   []member
}

type member struct {
	name string
	*process.Process
}

func (c *cast) driverSocket() string  { return filepath.Join(c.dir, "csi.sock") }
func (c *cast) instantSocket() string { return filepath.Join(c.dir, "instant.sock") }
func (c *cast) passwordFile() string  { return filepath.Join(c.dir, "password") }

// ports is the range for exports: the simulated box listens on the port of each exported volume.
func (c *cast) ports() string {
	return fmt.Sprintf("%d-%d", c.firstPort, c.firstPort+c.o.volumes-1)
}

// start starts all. What was started when it fails is for stop.
func (c *cast) start(ctx context.Context) (err error) {
	c.stopping = make(chan struct{})
	if err := os.WriteFile(c.passwordFile(), []byte(rand.Text()+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the box's password: %w", err)
	}
	if c.firstPort, err = process.FreePorts(ctx, c.o.volumes); err != nil {
		return err
	}
	if c.http, err = process.FreeAddress(ctx); err != nil {
		return err
	}
	api, err := process.FreeAddress(ctx)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's own file: %w", err)
	}
	for _, m := range []struct {
		name, path string
		args       []string
	}{
		{"rds-sim", c.o.box, c.boxArgs(api)},
		{driverName, c.o.driver, c.driverArgs(api)},
		{"instant", self, []string{"--instant=" + c.instantSocket()}},
	} {
		if err := c.launch(m.name, m.path, m.args); err != nil {
			return err
		}
	}
	return nil
}

func (c *cast) boxArgs(api string) []string {
	return []string{
		"--dir=" + filepath.Join(c.dir, "box"),
		"--api=" + api,
		"--api-tls=off",
		"--ssh=off",
		"--nvme-host=127.0.0.1",
		"--user=" + boxUser,
		"--password-file=" + c.passwordFile(),
		"--service-time=" + c.o.serviceTime.String(),
	}
}

func (c *cast) driverArgs(api string) []string {
	return []string{
		"controller",
		"--endpoint=unix://" + c.driverSocket(),
		"--kubernetes=false",
		"--nodes=" + strings.Join(workload.NodeNames(c.o.nodes), ","),
		"--cluster-id=" + clusterID,
		"--rds-plain",
		"--rds-address=" + api,
		"--rds-user=" + boxUser,
		"--rds-password-file=" + c.passwordFile(),
		"--volume-path=/raid10",
		"--http-address=" + c.http,
	}
}

// launch starts one process and calls the run off should it end before it is stopped.
func (c *cast) launch(name, path string, args []string) error {
	p, err := process.Start(process.Config{Path: path, Args: args, Log: filepath.Join(c.o.out, name+".log")})
	if err != nil {
		return err
	}
	c.running = append(c.running, member{name, p})
	go func() {
		select {
		case <-c.stopping:
		case <-p.Done():
			c.fail(p.Err())
		}
	}()
	return nil
}

// stop ends all, the last one first, and may be called again.
func (c *cast) stop() error {
	if c.stopping == nil {
		return nil
	}
	select {
	case <-c.stopping:
		return nil
	default:
	}
	close(c.stopping)
	var errs []error
	for i := len(c.running) - 1; i >= 0; i-- {
		errs = append(errs, c.running[i].Stop())
	}
	return errors.Join(errs...)
}

// cpu tells what each process has spent, once all are stopped.
func (c *cast) cpu() []report.CPU {
	var all []report.CPU
	for _, m := range c.running {
		all = append(all, report.CPU{Process: m.name, Seconds: m.CPU().Seconds()})
	}
	return all
}

// commands asks the controller's metrics how many commands it has sent to the box, by kind.
func (c *cast) commands(ctx context.Context) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.http+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	// A connection for each: an idle one would be no use, and would outlive the controller.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics: %s", resp.Status)
	}
	return sumBy(resp.Body, commandCount, "command")
}
