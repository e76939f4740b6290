// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"golang.org/x/crypto/ssh"

	"github.com/rds-csi/rds-csi/actors"
)

// DefaultCommandTimeout bounds a command where Config.CommandTimeout is zero.
const DefaultCommandTimeout = 10 * time.Second

// Config describes a box and how to use it.
type Config struct {
	// Transport is how to speak to the box. Zero is API.
	Transport Transport
	// Address of the box, host:port: for the API 8728, or 8729 with TLS; for SSH 22.
	Address string
	// Username and Password of a RouterOS user with the policies read, write, api or ssh and, for the
	// removal of files, ftp or what the version asks for.
	Username string
	Password string
	// ReadPassword, if it is not nil, is asked for the password at each login, in place of Password, so
	// that a changed one needs no restart. It must not block for long.
	ReadPassword func() (string, error)
	// ReadKey, if it is not nil, is asked for the account's key at each login over SSH, in place of SSH.Signer,
	// and ReadRoots at each connection over TLS for the authorities to trust, in place of TLS.RootCAs, so that
	// changed files need no restart. They must not block for long.
	ReadKey   func() (ssh.Signer, error)
	ReadRoots func() (*x509.CertPool, error)
	// TLS is the configuration of TLS of the API; nil means none.
	TLS *tls.Config
	// SSH is what SSH needs besides.
	SSH SSHConfig

	// Cluster is what ledgers of this cluster record: 12 lower-case hex digits.
	Cluster string
	// VolumePaths are the directories on the box in which volumes may be created and from which
	// their files may be deleted. At least one.
	VolumePaths []string

	// CommandTimeout bounds each command, and how long one may wait for a session. Zero means
	// DefaultCommandTimeout.
	CommandTimeout time.Duration
	// Sessions is how many sessions there may be, 2 to MaxSessions. A quarter of them, at least one, is
	// reserved for revokes and reads. Zero means 4, or 8 for SSH, of which each takes one command at a time.
	Sessions int
	// InFlight is how many commands may be under way on one session of the API. Zero means 8.
	InFlight int
	// IdleTimeout is how long a session may be unused before it is closed. One of the reserved and one
	// of the others are kept. Zero means one minute.
	IdleTimeout time.Duration
	// MinBackoff and MaxBackoff bound the wait between attempts to connect, which doubles from one
	// to the other. Zero means 250 ms and 15 s.
	MinBackoff time.Duration
	MaxBackoff time.Duration

	// Jitter returns a time between zero and the one that it is given, by which a wait between attempts is
	// shortened, so that several drivers do not come back to a box together. Nil: at random.
	Jitter func(time.Duration) time.Duration

	// MayChange is asked right before each change is sent; an error keeps it from being sent. It must not
	// block. Nil: always.
	MayChange func() error

	// RestartGrace is how long a disk that was there before a restart of the box is taken to come back.
	// Zero means two minutes.
	RestartGrace time.Duration

	// Hooks are told what happens.
	Hooks Hooks
	// Tracer makes a span of each command. Nil means none.
	Tracer trace.Tracer
	// Logger receives what an operator should know. Nil discards it. It never sees a password.
	Logger *slog.Logger
	// DialContext opens a connection. Nil means TCP.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// A Transport is a way to speak to a box.
type Transport int

// The transports.
const (
	API Transport = iota
	SSH
)

// SSHConfig is what SSH needs besides an account. Exactly one of HostKey and KnownHosts is needed.
type SSHConfig struct {
	// Signer is the account's key, Ed25519 or RSA of at least 2048 bits; nil means the password alone.
	Signer ssh.Signer
	// HostKey is the box's key as in an authorized_keys file, or its fingerprint ("SHA256:…").
	HostKey string
	// KnownHosts is the path of a known_hosts file, which is read at each login.
	KnownHosts string
}

// MaxSessions is the largest Config.Sessions: RouterOS takes 20 by default, and people need some.
const MaxSessions = 16

// Hooks are functions that are told what happens on a box. They must not block, nor call the Box,
// and may be called from any goroutine. A nil one is not called.
type Hooks struct {
	// Command has ended. kind is one of the Kind constants.
	Command func(kind string, d time.Duration, err error)
	// Connection tells whether there is a session with the box: by New that there is none yet, and then
	// when that has changed.
	Connection func(address string, up bool)
	// Reconnect tells of each attempt to connect that failed, and of each that was made while the box had
	// no session of its kind, the first one too: nil means that there is one again, and that what was
	// known of the box may be out of date.
	Reconnect func(err error, d time.Duration)
	// Sessions tells how many sessions there are, and on how many of them a command is under way, when
	// that has changed.
	Sessions func(address string, open, busy int)
	// Wait tells how long a command waited for a session. full says that all were busy, and that there
	// could be no more.
	Wait func(d time.Duration, full bool)
}

// The kinds of command, as metrics and spans name them.
const (
	KindList       = "list"
	KindUptime     = "uptime"
	KindGrant      = "grant"
	KindRevoke     = "revoke"
	KindCreate     = "create"
	KindExpand     = "expand"
	KindExportOff  = "export-off"
	KindRemove     = "remove"
	KindRemoveFile = "remove-file"
)

// pathForm is an absolute path without empty, hidden or relative parts, in the alphabet that no
// RouterOS console interprets.
var pathForm = regexp.MustCompile(`^(/[A-Za-z0-9_][A-Za-z0-9._:-]*)+$`)

// maxPath leaves room for "/pvc-<uuid>.img" within 255 bytes.
const maxPath = 200

func checkPath(p string) error {
	if len(p) > maxPath || !pathForm.MatchString(p) {
		return fmt.Errorf("volume path %.240q is not an absolute path of letters, digits, '.', '_', ':' and '-', without a trailing slash and of at most %d bytes: %w", p, maxPath, actors.ErrInvalid)
	}
	return nil
}

func (cfg Config) checkTransport() error {
	switch {
	case cfg.Transport != API && cfg.Transport != SSH:
		return fmt.Errorf("transport %d is neither API nor SSH: %w", cfg.Transport, actors.ErrInvalid)
	case cfg.Transport == API && (cfg.SSH != (SSHConfig{}) || cfg.ReadKey != nil):
		return fmt.Errorf("settings of SSH beside the API: %w", actors.ErrInvalid)
	case cfg.Transport == SSH && cfg.TLS != nil:
		return fmt.Errorf("TLS beside SSH: %w", actors.ErrInvalid)
	case cfg.TLS == nil && cfg.ReadRoots != nil:
		return fmt.Errorf("authorities to trust without TLS: %w", actors.ErrInvalid)
	case cfg.Transport == SSH:
		return cfg.checkSSH()
	}
	return nil
}

// complete returns cfg with its zero values filled in, or ErrInvalid.
func (cfg Config) complete() (Config, error) {
	if _, _, err := net.SplitHostPort(cfg.Address); err != nil {
		return cfg, fmt.Errorf("address of the box %.100q is not host:port: %w", cfg.Address, actors.ErrInvalid)
	}
	if err := cfg.checkTransport(); err != nil {
		return cfg, err
	}
	if err := actors.CheckCluster(cfg.Cluster); err != nil {
		return cfg, err
	}
	if len(cfg.VolumePaths) == 0 {
		return cfg, fmt.Errorf("no volume path is configured: %w", actors.ErrInvalid)
	}
	for _, p := range cfg.VolumePaths {
		if err := checkPath(p); err != nil {
			return cfg, err
		}
	}
	cfg.VolumePaths = slices.Clone(cfg.VolumePaths)
	if cfg.CommandTimeout < 0 || cfg.InFlight < 0 || cfg.MinBackoff < 0 || cfg.MaxBackoff < 0 || cfg.IdleTimeout < 0 || cfg.RestartGrace < 0 {
		return cfg, fmt.Errorf("a timeout, backoff or bound is negative: %w", actors.ErrInvalid)
	}
	if cfg.Sessions == 0 {
		cfg.Sessions = 4
		if cfg.Transport == SSH {
			cfg.Sessions = 8
		}
	}
	if cfg.Sessions < 2 || cfg.Sessions > MaxSessions {
		return cfg, fmt.Errorf("%d sessions with the box are not between 2 and %d: %w", cfg.Sessions, MaxSessions, actors.ErrInvalid)
	}
	cfg.CommandTimeout = cmp.Or(cfg.CommandTimeout, DefaultCommandTimeout)
	cfg.InFlight = cmp.Or(cfg.InFlight, 8)
	cfg.IdleTimeout = cmp.Or(cfg.IdleTimeout, time.Minute)
	cfg.MinBackoff = cmp.Or(cfg.MinBackoff, 250*time.Millisecond)
	cfg.MaxBackoff = cmp.Or(cfg.MaxBackoff, 15*time.Second)
	cfg.RestartGrace = cmp.Or(cfg.RestartGrace, 2*time.Minute)
	cfg.Hooks = cfg.Hooks.complete()
	if cfg.Jitter == nil {
		cfg.Jitter = func(d time.Duration) time.Duration { return rand.N(d + 1) }
	}
	if cfg.Tracer == nil {
		cfg.Tracer = noop.NewTracerProvider().Tracer("")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg, nil
}

// password returns the password as it is now. The error never holds it.
func (cfg Config) password() (string, error) {
	if cfg.ReadPassword == nil {
		return cfg.Password, nil
	}
	password, err := cfg.ReadPassword()
	if err != nil {
		return "", fmt.Errorf("read the box's password: %w", err)
	}
	return password, nil
}

// key returns the account's key as it is now, or nil where there is none. The error holds nothing of it.
func (cfg Config) key() (ssh.Signer, error) {
	if cfg.ReadKey == nil {
		return cfg.SSH.Signer, nil
	}
	key, err := cfg.ReadKey()
	if err != nil {
		return nil, fmt.Errorf("read the account's key: %w", err)
	}
	return key, nil
}

// trust returns the configuration of TLS with the authorities that are to be trusted now, or nil without TLS.
func (cfg Config) trust() (*tls.Config, error) {
	if cfg.ReadRoots == nil {
		return cfg.TLS, nil
	}
	roots, err := cfg.ReadRoots()
	if err != nil {
		return nil, fmt.Errorf("read the authorities to trust: %w", err)
	}
	conf := cfg.TLS.Clone()
	conf.RootCAs = roots
	return conf, nil
}

func (h Hooks) complete() Hooks {
	if h.Command == nil {
		h.Command = func(string, time.Duration, error) {}
	}
	if h.Connection == nil {
		h.Connection = func(string, bool) {}
	}
	if h.Reconnect == nil {
		h.Reconnect = func(error, time.Duration) {}
	}
	if h.Sessions == nil {
		h.Sessions = func(string, int, int) {}
	}
	if h.Wait == nil {
		h.Wait = func(time.Duration, bool) {}
	}
	return h
}
