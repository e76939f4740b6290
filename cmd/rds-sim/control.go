// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/rds-csi/rds-csi/rds/sim"
	"github.com/rds-csi/rds-csi/rds/sim/control"
)

// checkControl refuses a control port that others could reach, unless that is asked for.
func checkControl(opts options) error {
	if opts.control == sim.Off || opts.controlAnywhere {
		return nil
	}
	host, _, err := net.SplitHostPort(opts.control)
	if err != nil {
		return fmt.Errorf("--control %q is not host:port: %w", opts.control, err)
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("--control %q is not on a loopback address: there is no login, so say --control-anywhere if that is meant", opts.control)
}

// shutdownTimeout is how long requests of the control port may take to end with the program.
const shutdownTimeout = 5 * time.Second

// serve tells where the box is and serves the control port until ctx ends.
func serve(ctx context.Context, s *sim.Sim, opts options, stdout io.Writer) error {
	if opts.control == sim.Off {
		err := describe(stdout, s, opts.box, sim.Off)
		if err == nil {
			<-ctx.Done()
		}
		return err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", opts.control)
	if err != nil {
		return fmt.Errorf("serve the control port: %w", err)
	}
	server := &http.Server{Handler: control.New(s), ReadTimeout: 10 * time.Second, WriteTimeout: 2 * time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	err = describe(stdout, s, opts.box, ln.Addr().String())
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-ended:
			return fmt.Errorf("serve the control port: %w", err)
		}
	}
	// The context of the program has ended; what is under way may end, too.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if errShut := server.Shutdown(last); errShut != nil {
		err = errors.Join(err, errShut, server.Close())
	}
	if errServe := <-ended; !errors.Is(errServe, http.ErrServerClosed) {
		err = errors.Join(err, errServe)
	}
	return err
}
