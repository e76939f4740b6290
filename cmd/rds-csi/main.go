// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Command rds-csi is the CSI driver for MikroTik ROSE Data Servers: the controller that runs once
// in a cluster, the node plugin that runs on every node, and a demonstration that needs neither.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const usage = `rds-csi is the CSI driver for MikroTik ROSE Data Servers.

  rds-csi controller   creates, grants and revokes volumes; one for a cluster
  rds-csi node         connects and mounts volumes; one for each node
  rds-csi doctor       examines a box, and settles how it behaves
  rds-csi volumes      compares what is granted on the box with VolumeAttachments
  rds-csi release      takes out a grant that is left over
  rds-csi fence        revokes the grant of a node that may be writing
  rds-csi adopt        takes over a volume of another cluster or of the older driver
  rds-csi demo         migrates a disk between two nodes on a simulated box
  rds-csi version      prints the version

Each takes --help.
`

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage) //nolint:errcheck // there is nobody left to tell
		return exitUsage
	}
	commands := map[string]func(context.Context, []string, io.Writer, io.Writer) error{
		"controller": runController,
		"node":       runNode,
		"doctor":     runDoctor,
		"volumes":    runVolumes,
		"release":    runRelease,
		"fence":      runFence,
		"adopt":      runAdopt,
		"demo":       runDemo,
		"version":    runVersion,
	}
	command, ok := commands[args[0]]
	if !ok {
		if args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
			fmt.Fprint(stdout, usage) //nolint:errcheck // as above
			return exitOK
		}
		fmt.Fprintf(stderr, "rds-csi: unknown command %q\n\n%s", args[0], usage) //nolint:errcheck // as above
		return exitUsage
	}
	err := command(ctx, args[1:], stdout, stderr)
	var bad usageError
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &bad):
		fmt.Fprintf(stderr, "rds-csi %s: %v\n", args[0], err) //nolint:errcheck // as above
		return exitUsage
	}
	fmt.Fprintf(stderr, "rds-csi %s: %v\n", args[0], err) //nolint:errcheck // as above
	return exitFailed
}

// A usageError is a mistake in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }
