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

	"golang.org/x/crypto/ssh"

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
	opts, err := parse(args, getenv, stderr)
	cfg := opts.box
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
	err = serve(ctx, s, opts, stdout)
	if err := errors.Join(err, s.Close()); err != nil {
		_, _ = fmt.Fprintln(stderr, "rds-sim:", err)
		return exitFailure
	}
	return exitOK
}

// options are what the command line says.
type options struct {
	box             sim.Config
	control         string // address, or off
	controlAnywhere bool
}

// parse reads the command line and the password.
func parse(args []string, getenv func(string) string, stderr io.Writer) (options, error) {
	var opts options
	cfg := &opts.box
	flags := flag.NewFlagSet("rds-sim", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&cfg.Dir, "dir", "rds-sim-data", "`directory` of the disks and the configuration")
	capacity := flags.String("capacity", "1T", "`size` of the pool: bytes, or K, M, G, T, which are powers of 1024")
	flags.StringVar(&cfg.Pool, "pool", "raid10", "`name` of the pool, which is also where it is mounted")
	flags.StringVar(&cfg.APIAddr, "api", "127.0.0.1:8728", "`address` of the RouterOS API, or off")
	flags.StringVar(&cfg.TLSAddr, "api-tls", "127.0.0.1:8729", "`address` of the RouterOS API over TLS, or off")
	flags.StringVar(&cfg.SSHAddr, "ssh", "127.0.0.1:8722", "`address` of SSH, or off")
	keysFile := flags.String("authorized-keys", "", "`file` with the account's keys for SSH: Ed25519, or RSA of at least 2048 bits")
	flags.StringVar(&opts.control, "control", sim.Off, "`address` of the control port, over which anyone may disturb the box with HTTP, or off")
	flags.BoolVar(&opts.controlAnywhere, "control-anywhere", false, "let the control port be on an address that is not loopback")
	flags.StringVar(&cfg.NVMeHost, "nvme-host", "127.0.0.1", "`IP` address of the exports, each at its own port")
	flags.StringVar(&cfg.Username, "user", "admin", "`name` of the account")
	passwordFile := flags.String("password-file", "", "`file` with the password; without it "+passwordVariable+" holds it")
	settings(flags, cfg)
	flags.DurationVar(&cfg.ServiceTime, "service-time", 0, "`time` that each command takes")
	flags.IntVar(&cfg.MaxSessions, "max-sessions", 20, "`number` of connections of the API and SSH there may be")
	verbose := flags.Bool("verbose", false, "log every session")
	if err := flags.Parse(args); err != nil {
		return opts, fmt.Errorf("read the command line: %w", err)
	}
	if flags.NArg() > 0 {
		return opts, fmt.Errorf("%q is no flag, and nothing else is taken", flags.Arg(0))
	}
	var err error
	if cfg.Capacity, err = sim.ParseSize(*capacity); err != nil || cfg.Capacity == 0 {
		return opts, fmt.Errorf("--capacity %q is not a size such as 500G", *capacity)
	}
	if cfg.MaxSessions < 1 {
		return opts, fmt.Errorf("--max-sessions %d is not at least 1", cfg.MaxSessions)
	}
	if err := checkControl(opts); err != nil {
		return opts, err
	}
	if err := readSecrets(cfg, getenv, *passwordFile, *keysFile); err != nil {
		return opts, err
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	cfg.Logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	return opts, nil
}

// settings are the flags of what a person may have set wrongly on a box.
func settings(flags *flag.FlagSet, cfg *sim.Config) {
	flags.StringVar(&cfg.Policies, "policies", "", "`policies` of the account's group, such as read,write,api,ssh; what is not named is withheld, and empty is all")
	flags.TextVar(&cfg.Storage, "rose-storage", sim.Installed, "`state` of the package rose-storage: installed, disabled, available or missing")
	flags.StringVar(&cfg.PoolState, "pool-state", "", "`text` of the pool's state, such as degraded; empty is clean")
	flags.BoolVar(&cfg.PoolMissing, "pool-missing", false, "leave the pool away")
	flags.BoolVar(&cfg.NoCertificate, "no-certificate", false, "leave the API over TLS without a certificate, so that it refuses every client")
	flags.StringVar(&cfg.Identity, "identity", "", "`name` of the box; empty is rds-sim")
	flags.StringVar(&cfg.Version, "routeros", "", "`version` of RouterOS that the box claims; empty is 7.20.4 (stable)")
}

// readSecrets reads the password and the keys.
func readSecrets(cfg *sim.Config, getenv func(string) string, passwordFile, keysFile string) error {
	cfg.Password = getenv(passwordVariable)
	if passwordFile != "" {
		b, err := os.ReadFile(passwordFile)
		if err != nil {
			return fmt.Errorf("read the password: %w", err)
		}
		cfg.Password = strings.TrimRight(string(b), "\r\n")
	}
	if keysFile != "" {
		b, err := os.ReadFile(keysFile)
		if err != nil {
			return fmt.Errorf("read the authorized keys: %w", err)
		}
		cfg.AuthorizedKeys = b
	}
	return nil
}

// describe tells where the box is.
func describe(w io.Writer, s *sim.Sim, cfg sim.Config, control string) error {
	const gib = 1 << 30
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "Simulated ROSE Data Server; end it with Ctrl-C, its disks stay.") // Flush tells
	for _, line := range [][2]string{
		{"directory", cfg.Dir},
		{"pool", fmt.Sprintf("/%s, %.1f GiB free of %.1f GiB, %d disks", cfg.Pool, float64(s.Free())/gib, float64(cfg.Capacity)/gib, len(s.Disks()))},
		{"api", s.APIAddr()},
		{"api-tls", s.TLSAddr()},
		{"certificate", s.CertificateFile()},
		{"ssh", s.SSHAddr()},
		{"host key", ssh.FingerprintSHA256(s.HostKey())},
		{"control", control},
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
