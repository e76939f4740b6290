// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/rds-csi/rds-csi/rds"
	"github.com/rds-csi/rds-csi/rds/console"
)

// controllerFlags are those of rds-csi controller.
type controllerFlags struct {
	commonFlags
	nodes          string
	rdsAddress     string
	rdsAliases     string
	rdsTransport   string
	rdsPlain       bool
	rdsCAFile      string
	rdsInsecure    bool
	rdsUser        string
	rdsPassword    string
	rdsSessions    int
	sshKeyFile     string
	sshHostKey     string
	sshKnownHosts  string
	volumePath     string
	nvmeAddress    string
	commandTimeout time.Duration
	leaderElect    bool
	leaseNamespace string
}

func (f *controllerFlags) register(fs *flag.FlagSet) {
	f.commonFlags.register(fs, ":9809")
	fs.StringVar(&f.nodes, "nodes", "", "the `nodes` that exist, comma-separated, where there is no Kubernetes")
	fs.BoolVar(&f.leaderElect, "leader-elect", true, "with Kubernetes, wait for the lease of the driver's name, so that several controllers may run; false: this is the only one")
	fs.StringVar(&f.leaseNamespace, "lease-namespace", "", "`namespace` of that lease; empty: the pod's")
	fs.StringVar(&f.rdsAddress, "rds-address", "", "the box, `host[:port]`; the port is 8729, or 8728 with --rds-plain, or 22 with --rds-transport=ssh")
	fs.StringVar(&f.rdsTransport, "rds-transport", "api", "how to speak to the box: api or ssh")
	fs.StringVar(&f.rdsAliases, "rds-aliases", "", "other `addresses` of the same box that StorageClasses and older volumes name, comma-separated, as after it was renumbered")
	fs.BoolVar(&f.rdsPlain, "rds-plain", false, "the API without TLS: password and commands cross the network readable")
	fs.StringVar(&f.rdsCAFile, "rds-ca-file", "", "`file` of PEM certificates that may have signed the box's; empty: the system's")
	fs.BoolVar(&f.rdsInsecure, "rds-insecure-skip-verify", false, "TLS without checking who answers")
	fs.StringVar(&f.rdsUser, "rds-user", "", "RouterOS `account`")
	fs.StringVar(&f.rdsPassword, "rds-password-file", "", "`file` with its password")
	fs.StringVar(&f.sshKeyFile, "rds-ssh-key-file", "", "`file` with the account's private key in PEM, Ed25519 or RSA; empty: the password alone")
	fs.StringVar(&f.sshHostKey, "rds-ssh-host-key", "", "the box's host `key`, as \"ssh-ed25519 AAAA...\" or \"SHA256:...\"")
	fs.StringVar(&f.sshKnownHosts, "rds-ssh-known-hosts", "", "`file` of host keys in the form of known_hosts, in place of --rds-ssh-host-key")
	fs.IntVar(&f.rdsSessions, "rds-sessions", 0, "sessions with the box at most, 2 to 16; 0: 4, or 8 with --rds-transport=ssh")
	fs.StringVar(&f.volumePath, "volume-path", "/raid10", "`directories` on the box for volumes, comma-separated; the first is for StorageClasses that name none")
	fs.StringVar(&f.nvmeAddress, "nvme-address", "", "`address` where nodes connect; empty: the host of --rds-address")
	fs.DurationVar(&f.commandTimeout, "command-timeout", 10*time.Second, "deadline of one command to the box, 1s to 1m")
}

func runController(ctx context.Context, args []string, _, stderr io.Writer) error {
	var f controllerFlags
	fs := flag.NewFlagSet("rds-csi controller", flag.ContinueOnError)
	f.register(fs)
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	logger, err := f.logger(stderr)
	if err != nil {
		return err
	}
	cfg, err := f.config(ctx, logger)
	if err != nil {
		return err
	}
	d, err := newDriver(ctx, cfg)
	if err != nil {
		return err
	}
	logger.Info("serving", "version", version, "endpoint", cfg.endpoint, "http", d.http.Addr(),
		"box", cfg.box.Address, "cluster-id", cfg.cluster)
	return d.Run(ctx)
}

// config checks the flags and turns them into a driverConfig.
func (f *controllerFlags) config(ctx context.Context, logger *slog.Logger) (driverConfig, error) {
	cfg := driverConfig{
		endpoint: f.endpoint, driverName: f.driverName, nvmeAddress: f.nvmeAddress,
		commandTimeout: f.commandTimeout, http: f.http, otlp: f.otlp, logger: logger,
	}
	if f.commandTimeout < time.Second || f.commandTimeout > time.Minute {
		return cfg, usageError{fmt.Errorf("--command-timeout %v is not between 1s and 1m", f.commandTimeout)}
	}
	paths := strings.Split(f.volumePath, ",")
	cfg.volumePath = paths[0]
	host, address, err := f.boxAddress()
	if err != nil {
		return cfg, err
	}
	cfg.boxAddress = host
	if f.rdsAliases != "" {
		cfg.boxAliases = strings.Split(f.rdsAliases, ",")
	}
	if f.rdsUser == "" {
		return cfg, usageError{errors.New("--rds-user is missing: name the box's account")}
	}
	if cfg.cluster, cfg.surroundings, err = f.around(ctx, logger); err != nil {
		return cfg, err
	}
	cfg.box = rds.Config{
		Address: address, Username: f.rdsUser, ReadPassword: func() (string, error) { return readSecret(f.rdsPassword) },
		Sessions: f.rdsSessions, Cluster: cfg.cluster, VolumePaths: paths, CommandTimeout: f.commandTimeout,
	}
	return cfg, f.sessions(&cfg.box, host)
}

// sessions checks the flags about sessions with the box and puts them into its configuration.
func (f *controllerFlags) sessions(box *rds.Config, host string) (err error) {
	// It is read again at each login; what is wrong with the file should be said at the start.
	if _, err := readSecret(f.rdsPassword); err != nil {
		return err
	}
	if n := f.rdsSessions; n != 0 && (n < 2 || n > rds.MaxSessions) {
		return usageError{fmt.Errorf("--rds-sessions %d is not between 2 and %d", n, rds.MaxSessions)}
	}
	switch f.rdsTransport {
	case "api":
		if f.sshKeyFile != "" || f.sshHostKey != "" || f.sshKnownHosts != "" {
			return usageError{errors.New("--rds-ssh-key-file, --rds-ssh-host-key and --rds-ssh-known-hosts are for --rds-transport=ssh")}
		}
		if box.TLS, err = f.tls(host); err == nil && f.rdsCAFile != "" {
			box.ReadRoots = f.roots
		}
		return err
	case "ssh":
		box.Transport = rds.SSH
		if box.SSH, err = f.ssh(); err == nil && f.sshKeyFile != "" {
			box.ReadKey = f.key
		}
		return err
	}
	return usageError{fmt.Errorf("--rds-transport %.32q is not one of api, ssh", f.rdsTransport)}
}

// ssh returns the settings of SSH. What the host key is made of is checked where it is used.
func (f *controllerFlags) ssh() (rds.SSHConfig, error) {
	cfg := rds.SSHConfig{HostKey: f.sshHostKey, KnownHosts: f.sshKnownHosts}
	if f.rdsPlain || f.rdsCAFile != "" || f.rdsInsecure {
		return cfg, usageError{errors.New("--rds-transport=ssh excludes --rds-plain, --rds-ca-file and --rds-insecure-skip-verify")}
	}
	if (cfg.HostKey == "") == (cfg.KnownHosts == "") {
		return cfg, usageError{errors.New("--rds-transport=ssh takes one of --rds-ssh-host-key and --rds-ssh-known-hosts, so that the box can be told from another")}
	}
	if f.sshKeyFile == "" {
		if f.rdsPassword == "" {
			return cfg, usageError{errors.New("--rds-transport=ssh takes --rds-ssh-key-file, --rds-password-file, or both")}
		}
		return cfg, nil
	}
	// It is read again at each login; what is wrong with the file should be said at the start.
	var err error
	cfg.Signer, err = f.key()
	return cfg, err
}

// key reads the account's key.
func (f *controllerFlags) key() (ssh.Signer, error) {
	pem, err := os.ReadFile(f.sshKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read --rds-ssh-key-file: %w", err)
	}
	key, err := console.ParseKey(pem, nil)
	if err != nil {
		return nil, usageError{fmt.Errorf("--rds-ssh-key-file %s: %w", f.sshKeyFile, err)}
	}
	return key, nil
}

// boxAddress returns the box's host alone, and with the port of its API, or of SSH.
func (f *controllerFlags) boxAddress() (host, address string, err error) {
	if f.rdsAddress == "" {
		return "", "", usageError{errors.New("--rds-address is missing: name the box, host or host:port")}
	}
	port := "8729"
	switch {
	case f.rdsTransport == "ssh":
		port = "22"
	case f.rdsPlain:
		port = "8728"
	}
	host = strings.Trim(f.rdsAddress, "[]")
	if h, p, err := net.SplitHostPort(f.rdsAddress); err == nil {
		host, port = h, p
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" || strings.ContainsAny(host, "/ \t\r\n") {
		return "", "", usageError{fmt.Errorf("--rds-address %.128q is not host or host:port", f.rdsAddress)}
	}
	return host, net.JoinHostPort(host, port), nil
}

// tls returns how to know the box, or nil for the API without TLS.
func (f *controllerFlags) tls(host string) (*tls.Config, error) {
	if f.rdsPlain {
		if f.rdsCAFile != "" || f.rdsInsecure {
			return nil, usageError{errors.New("--rds-plain excludes --rds-ca-file and --rds-insecure-skip-verify")}
		}
		return nil, nil
	}
	cfg := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, InsecureSkipVerify: f.rdsInsecure} //nolint:gosec // asked for by name
	if f.rdsCAFile == "" {
		return cfg, nil
	}
	// It is read again at each connection.
	var err error
	cfg.RootCAs, err = f.roots()
	return cfg, err
}

// roots reads the authorities that may vouch for the box.
func (f *controllerFlags) roots() (*x509.CertPool, error) {
	pem, err := os.ReadFile(f.rdsCAFile)
	if err != nil {
		return nil, fmt.Errorf("read --rds-ca-file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, usageError{fmt.Errorf("--rds-ca-file %s holds no PEM certificate", f.rdsCAFile)}
	}
	return roots, nil
}
