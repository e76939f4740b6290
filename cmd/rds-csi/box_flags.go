// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/rds-csi/rds-csi/rds"
	"github.com/rds-csi/rds-csi/rds/console"
)

// boxFlags say how to speak to the box.
type boxFlags struct {
	rdsAddress     string
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
}

func (f *boxFlags) register(fs *flag.FlagSet) {
	fs.StringVar(&f.rdsAddress, "rds-address", "", "the box, `host[:port]`; the port is 8729, or 8728 with --rds-plain, or 22 with --rds-transport=ssh")
	fs.StringVar(&f.rdsTransport, "rds-transport", "api", "how to speak to the box: api or ssh")
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

// sessions checks the flags about sessions with the box and puts them into its configuration.
func (f *boxFlags) sessions(box *rds.Config, host string) (err error) {
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
func (f *boxFlags) ssh() (rds.SSHConfig, error) {
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
func (f *boxFlags) key() (ssh.Signer, error) {
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
func (f *boxFlags) boxAddress() (host, address string, err error) {
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
func (f *boxFlags) tls(host string) (*tls.Config, error) {
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
func (f *boxFlags) roots() (*x509.CertPool, error) {
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
