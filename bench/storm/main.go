// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

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

	"github.com/rds-csi/rds-csi/bench/instant"
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

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "storm: %v\n", err) //nolint:errcheck // there is nobody left to tell
		return exitUsage
	case o.instant != "":
		err = instant.Serve(ctx, o.instant)
	default:
		err = measure(ctx, o, stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "storm: %v\n", err) //nolint:errcheck // as above
		return exitFailed
	}
	return exitOK
}
