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
	"slices"
	"strings"
	"time"

	"github.com/rds-csi/rds-csi/rds/sim"
)

// runDemo tells the story of a live migration on a simulated box: the real driver on its real
// socket, a box that speaks the real protocols, and two hosts that do real I/O.
func runDemo(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var f demoFlags
	fs := flag.NewFlagSet("rds-csi demo", flag.ContinueOnError)
	f.register(fs)
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	logger, err := (&commonFlags{logLevel: f.logLevel, logFormat: "text"}).logger(stderr)
	if err != nil {
		return err
	}
	if !slices.Contains(demoTransports, f.transport) {
		return usageError{fmt.Errorf("--transport %.32q is not one of %s", f.transport, strings.Join(demoTransports, ", "))}
	}
	return demo(ctx, demoOptions{serve: f.serve, transport: f.transport, otlp: f.otlp, logger: logger}, stdout)
}

// demoFlags are those of rds-csi demo.
type demoFlags struct {
	serve     bool
	transport string
	otlp      string
	logLevel  string
}

func (f *demoFlags) register(fs *flag.FlagSet) {
	fs.BoolVar(&f.serve, "serve", false, "stay up afterwards and print the addresses")
	fs.StringVar(&f.transport, "transport", demoTLS, "how the driver speaks to the box: "+strings.Join(demoTransports, ", ")+"; api is without TLS")
	fs.StringVar(&f.otlp, "otlp", "", "`host:port` of an OTLP/gRPC collector for traces; empty: none")
	fs.StringVar(&f.logLevel, "log-level", "error", "of the driver and the box: debug, info, warn or error")
}

type demoOptions struct {
	serve     bool
	transport string // one of demoTransports
	otlp      string
	logger    *slog.Logger
	switches  sim.Switches // what the box does where nobody knows what a real one does
}

// demo plays the story. A step that does not go as it should is an error.
func demo(ctx context.Context, opts demoOptions, out io.Writer) (err error) {
	st, err := newStage(ctx, opts, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()

	if err := st.tell(ctx); err != nil {
		return err
	}
	if err := st.report(ctx); err != nil {
		return err
	}
	if opts.otlp != "" {
		if err := st.sendTraces(ctx, opts.otlp); err != nil {
			return err
		}
	}
	if opts.serve {
		st.addresses()
		select {
		case <-ctx.Done():
		case <-st.done:
			return errors.New("the driver ended by itself")
		}
	}
	return st.err
}

// tell plays the steps, in one trace.
func (st *demoStage) tell(ctx context.Context) error {
	begin := time.Now()
	ctx, span := st.tracer.Start(ctx, "demo")
	defer span.End()
	st.trace = span.SpanContext().TraceID()
	for i, step := range story {
		if err := st.play(ctx, i+1, step); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, step.title, err)
		}
	}
	st.printf("\nAll %d steps went as they should, in %.1f s.\n", len(story), time.Since(begin).Seconds())
	return nil
}

// play runs one step and prints its line.
func (st *demoStage) play(ctx context.Context, n int, s demoStep) error {
	ctx, cancel := context.WithTimeout(ctx, demoStepLimit)
	defer cancel()
	ctx, span := st.tracer.Start(ctx, s.title)
	defer span.End()
	st.printf("%2d  %-62s ", n, s.title)
	begin := time.Now()
	said, err := s.do(ctx, st)
	if err != nil {
		st.printf("FAILED\n")
		return err
	}
	st.printf("ok %7.0f ms\n", float64(time.Since(begin).Microseconds())/1000)
	if said != "" {
		st.printf("      %s\n", said)
	}
	return st.err
}

// demoStepLimit bounds one step. It is no promise about speed: what takes longer hangs.
const demoStepLimit = 60 * time.Second
