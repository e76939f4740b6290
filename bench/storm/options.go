// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/rds-csi/rds-csi/bench/workload"
)

// Bounds of what the workload does not bound itself.
const (
	maxRounds      = 100
	maxServiceTime = time.Second
)

// options are the command line.
type options struct {
	volumes, nodes, workers, rounds int

	serviceTime time.Duration
	timeout     time.Duration
	driver, box string // programs
	out         string // directory
	instant     string // socket; not empty: be the driver that answers at once
}

func parse(args []string, output io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("storm", flag.ContinueOnError)
	fs.SetOutput(output)
	fs.IntVar(&o.volumes, "volumes", 200, "`number` of volumes")
	fs.IntVar(&o.nodes, "nodes", 10, "`number` of nodes")
	fs.IntVar(&o.workers, "workers", 50, "`number` of calls under way at a time, like the attacher's --worker-threads")
	fs.IntVar(&o.rounds, "repeat", 3, "`number` of storms for each of the two drivers, which take turns")
	fs.DurationVar(&o.serviceTime, "service-time", 5*time.Millisecond, "`time` that each command takes the simulated box")
	fs.DurationVar(&o.timeout, "timeout", 10*time.Minute, "`time` after which the run is given up")
	fs.StringVar(&o.driver, "rds-csi", "bin/rds-csi", "`file` of the driver's program")
	fs.StringVar(&o.box, "rds-sim", "bin/rds-sim", "`file` of the simulated box's program")
	fs.StringVar(&o.out, "out", "bench/out", "`directory` for the report and for what the processes print")
	fs.StringVar(&o.instant, "instant", "", "`socket` on which to be the driver that answers at once, and nothing else")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	for _, n := range []struct {
		flag          string
		is, low, high int
	}{
		{"volumes", o.volumes, 1, workload.MaxVolumes},
		{"nodes", o.nodes, 2, workload.MaxNodes},
		{"workers", o.workers, 1, workload.MaxWorkers},
		{"repeat", o.rounds, 1, maxRounds},
	} {
		if n.is < n.low || n.is > n.high {
			return o, fmt.Errorf("--%s %d is not from %d to %d", n.flag, n.is, n.low, n.high)
		}
	}
	if o.serviceTime < 0 || o.serviceTime > maxServiceTime {
		return o, fmt.Errorf("--service-time %v is not from 0 to %v", o.serviceTime, maxServiceTime)
	}
	if o.timeout <= 0 {
		return o, fmt.Errorf("--timeout %v is not positive", o.timeout)
	}
	return o, nil
}
