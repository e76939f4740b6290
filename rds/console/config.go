// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

// Config says how to reach a box.
type Config struct {
	// Address is host:port. RouterOS listens on 22.
	Address string
	// Username of a RouterOS user with the policies ssh, read and write, and ftp or what the version
	// asks for to remove files.
	Username string
	// Password of the user, if it has one. At least one of Password and Signer is needed.
	Password string
	// Signer is the user's key: Ed25519, or RSA of 2048 bits and more. See ParseKey.
	Signer ssh.Signer

	// HostKey is the box's key, as in an authorized_keys file ("ssh-ed25519 AAAA…"), or its fingerprint
	// ("SHA256:…"). KnownHosts is the path of a known_hosts file. Exactly one of them is needed: nothing
	// is trusted unasked.
	HostKey    string
	KnownHosts string

	// DialTimeout bounds connecting and logging in. Zero means 10 s.
	DialTimeout time.Duration
	// CommandTimeout bounds each command, from its turn on the connection on. Zero means 10 s.
	CommandTimeout time.Duration
	// MaxOutput is how much output of a command is kept, in bytes. Zero means 64 MiB.
	MaxOutput int

	// DialContext opens the connection. Nil means TCP, with a keep-alive that finds a dead box within
	// half a minute.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger receives what an operator should know. Nil discards it. It never sees a secret.
	Logger *slog.Logger
}

var (
	// ErrConfig says that a setting cannot be used. The error names it.
	ErrConfig = errors.New("setting cannot be used")
	// ErrKey says that RouterOS does not take a key of that kind. It comes with ErrConfig.
	ErrKey = errors.New("key is neither Ed25519 nor RSA of 2048 bits or more")
)

// complete returns cfg with its zero values filled in, or ErrConfig.
func (cfg Config) complete() (Config, error) {
	if _, _, err := net.SplitHostPort(cfg.Address); err != nil {
		return cfg, fmt.Errorf("%w: Address %.100q is not host:port", ErrConfig, cfg.Address)
	}
	switch {
	case cfg.Username == "":
		return cfg, fmt.Errorf("%w: Username is empty", ErrConfig)
	case cfg.Password == "" && cfg.Signer == nil:
		return cfg, fmt.Errorf("%w: neither Password nor a private key is set", ErrConfig)
	case cfg.HostKey == "" && cfg.KnownHosts == "":
		return cfg, fmt.Errorf("%w: neither HostKey nor KnownHosts is set, so the box cannot be told from another", ErrConfig)
	case cfg.HostKey != "" && cfg.KnownHosts != "":
		return cfg, fmt.Errorf("%w: HostKey and KnownHosts are both set, one decides", ErrConfig)
	case cfg.DialTimeout < 0 || cfg.CommandTimeout < 0 || cfg.MaxOutput < 0:
		return cfg, fmt.Errorf("%w: DialTimeout, CommandTimeout or MaxOutput is negative", ErrConfig)
	}
	if cfg.Signer != nil {
		if err := checkKey(cfg.Signer.PublicKey()); err != nil {
			return cfg, err
		}
	}
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = 10 * time.Second
	}
	if cfg.CommandTimeout == 0 {
		cfg.CommandTimeout = 10 * time.Second
	}
	if cfg.MaxOutput == 0 {
		cfg.MaxOutput = 64 << 20
	}
	if cfg.DialContext == nil {
		cfg.DialContext = (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3,
		}}).DialContext
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg, nil
}

// ParseKey reads a private key in PEM. An empty passphrase means that the key has none. The error is
// ErrConfig, and holds nothing of the key.
func ParseKey(pem, passphrase []byte) (ssh.Signer, error) {
	var signer ssh.Signer
	var err error
	if len(passphrase) > 0 {
		signer, err = ssh.ParsePrivateKeyWithPassphrase(pem, passphrase)
	} else {
		signer, err = ssh.ParsePrivateKey(pem)
	}
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return nil, fmt.Errorf("%w: the private key needs a passphrase", ErrConfig)
	case err != nil:
		return nil, fmt.Errorf("%w: the private key cannot be read as PEM, or its passphrase is wrong", ErrConfig)
	}
	if err := checkKey(signer.PublicKey()); err != nil {
		return nil, err
	}
	return signer, nil
}

// checkKey refuses the keys that RouterOS refuses.
func checkKey(key ssh.PublicKey) error {
	switch key.Type() {
	case ssh.KeyAlgoED25519:
		return nil
	case ssh.KeyAlgoRSA:
		crypto, ok := key.(ssh.CryptoPublicKey)
		if !ok {
			break
		}
		if pub, ok := crypto.CryptoPublicKey().(*rsa.PublicKey); ok && pub.N.BitLen() < 2048 {
			return fmt.Errorf("%w: the private key is RSA of %d bits: %w", ErrConfig, pub.N.BitLen(), ErrKey)
		}
		return nil
	}
	return fmt.Errorf("%w: the private key is %s: %w", ErrConfig, key.Type(), ErrKey)
}
