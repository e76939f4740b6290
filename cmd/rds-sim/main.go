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
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/rds-csi/rds-csi/rds/sim"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// The exit codes: those of a program that was stopped, that failed, and that was misused.
const (
	exitOK = iota
	exitFailure
	exitUsage
)

// passwordVariable holds the password where --password-file is not given.
const passwordVariable = "RDS_SIM_PASSWORD"

// run is the program: it serves until ctx ends.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	cfg, err := parse(args, getenv, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "rds-sim:", err)
		return exitUsage
	}
	s, err := sim.Start(ctx, cfg)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "rds-sim:", err)
		return exitFailure
	}
	err = describe(stdout, s, cfg)
	if err == nil {
		<-ctx.Done()
	}
	if err := errors.Join(err, s.Close()); err != nil {
		_, _ = fmt.Fprintln(stderr, "rds-sim:", err)
		return exitFailure
	}
	return exitOK
}

// parse reads the command line and the password.
func parse(args []string, getenv func(string) string, stderr io.Writer) (sim.Config, error) {
	var cfg sim.Config
	flags := flag.NewFlagSet("rds-sim", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&cfg.Dir, "dir", "rds-sim-data", "`directory` of the disks and the configuration")
	capacity := flags.String("capacity", "1T", "`size` of the pool: bytes, or K, M, G, T, which are powers of 1024")
	flags.StringVar(&cfg.Pool, "pool", "raid10", "`name` of the pool, which is also where it is mounted")
	flags.StringVar(&cfg.APIAddr, "api", "127.0.0.1:8728", "`address` of the RouterOS API, or off")
	flags.StringVar(&cfg.TLSAddr, "api-tls", "127.0.0.1:8729", "`address` of the RouterOS API over TLS, or off")
	flags.StringVar(&cfg.NVMeHost, "nvme-host", "127.0.0.1", "`IP` address of the exports, each at its own port")
	flags.StringVar(&cfg.Username, "user", "admin", "`name` of the account")
	passwordFile := flags.String("password-file", "", "`file` with the password; without it "+passwordVariable+" holds it")
	flags.DurationVar(&cfg.ServiceTime, "service-time", 0, "`time` that each command takes")
	flags.IntVar(&cfg.MaxSessions, "max-sessions", 20, "`number` of API connections there may be")
	verbose := flags.Bool("verbose", false, "log every session")
	if err := flags.Parse(args); err != nil {
		return cfg, fmt.Errorf("read the command line: %w", err)
	}
	if flags.NArg() > 0 {
		return cfg, fmt.Errorf("%q is no flag, and nothing else is taken", flags.Arg(0))
	}
	var err error
	if cfg.Capacity, err = sim.ParseSize(*capacity); err != nil || cfg.Capacity == 0 {
		return cfg, fmt.Errorf("--capacity %q is not a size such as 500G", *capacity)
	}
	if cfg.MaxSessions < 1 {
		return cfg, fmt.Errorf("--max-sessions %d is not at least 1", cfg.MaxSessions)
	}
	cfg.Password = getenv(passwordVariable)
	if *passwordFile != "" {
		b, err := os.ReadFile(*passwordFile)
		if err != nil {
			return cfg, fmt.Errorf("read the password: %w", err)
		}
		cfg.Password = strings.TrimRight(string(b), "\r\n")
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	cfg.Logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	return cfg, nil
}

// describe tells where the box is.
func describe(w io.Writer, s *sim.Sim, cfg sim.Config) error {
	const gib = 1 << 30
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "Simulated ROSE Data Server; end it with Ctrl-C, its disks stay.") // Flush tells
	for _, line := range [][2]string{
		{"directory", cfg.Dir},
		{"pool", fmt.Sprintf("/%s, %.1f GiB free of %.1f GiB, %d disks", cfg.Pool, float64(s.Free())/gib, float64(cfg.Capacity)/gib, len(s.Disks()))},
		{"api", s.APIAddr()},
		{"api-tls", s.TLSAddr()},
		{"certificate", s.CertificateFile()},
		{"nvme/tcp", cfg.NVMeHost + ", each disk at its own port"},
		{"user", cfg.Username},
		{"password", map[bool]string{true: "none", false: "set"}[cfg.Password == ""]},
	} {
		_, _ = fmt.Fprintf(tw, "  %s\t%s\n", line[0], line[1])
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("print the addresses: %w", err)
	}
	return nil
}
