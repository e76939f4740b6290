// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// try dials and reports the error.
func try(t *testing.T, cfg Config) error {
	t.Helper()
	c, err := Dial(t.Context(), cfg)
	if err == nil {
		c.Close()
	} else if strings.Contains(err.Error(), testPassword) {
		t.Errorf("the error shows the password: %v", err)
	}
	return err
}

func knownHostsFile(t *testing.T, lines ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestHostKey(t *testing.T) {
	b := newBox(t, whole())
	both := newBox(t, whole(), func(cfg *ssh.ServerConfig) { cfg.AddHostKey(rsaKey(t, 2048)) })
	other := ed25519Key(t).PublicKey()
	rsaOnly := rsaKey(t, 2048)
	line := func(key ssh.PublicKey) string { return knownhosts.Line([]string{knownhosts.Normalize(b.addr)}, key) }
	known := knownHostsFile(t, line(b.key.PublicKey()))
	changed := knownHostsFile(t, line(other))
	revoked := knownHostsFile(t, "@revoked * "+authorized(b.key.PublicKey()), line(b.key.PublicKey()))
	empty := knownHostsFile(t)
	for _, tt := range []struct {
		name    string
		key     string
		known   string
		setting string // that the error names; empty: the key is trusted
		unknown bool
	}{
		{name: "pinned", key: authorized(b.key.PublicKey())},
		{name: "pinned fingerprint", key: ssh.FingerprintSHA256(b.key.PublicKey())},
		{name: "known", known: known},
		{name: "another pinned", key: authorized(other), setting: "HostKey"},
		{name: "another fingerprint", key: ssh.FingerprintSHA256(other), setting: "HostKey"},
		{name: "another type pinned", key: authorized(rsaOnly.PublicKey()), setting: "HostKey"},
		{name: "another known", known: changed, setting: "KnownHosts " + changed},
		{name: "another type known", known: knownHostsFile(t, line(rsaOnly.PublicKey())), setting: "KnownHosts"},
		{name: "revoked", known: revoked, setting: "KnownHosts " + revoked},
		{name: "none known", known: empty, setting: "KnownHosts " + empty, unknown: true},
	} {
		cfg := b.config()
		cfg.HostKey, cfg.KnownHosts = tt.key, tt.known
		err := try(t, cfg)
		var wrong *HostKeyError
		switch {
		case tt.setting == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.setting != "" && (!errors.As(err, &wrong) || !strings.Contains(err.Error(), tt.setting) || wrong.Unknown != tt.unknown):
			t.Errorf("%s: %v", tt.name, err)
		case tt.setting != "" && errors.Is(err, routeros.ErrLogin):
			t.Errorf("%s: taken for a refused login: %v", tt.name, err)
		}
	}
	// A box with several keys shows the one that is known.
	cfg := both.config()
	cfg.HostKey, cfg.KnownHosts = "", knownHostsFile(t, knownhosts.Line([]string{both.addr}, both.key.PublicKey()))
	if err := try(t, cfg); err != nil {
		t.Errorf("a box with two keys: %v", err)
	}
}

func TestLogin(t *testing.T) {
	key, rsa := ed25519Key(t), rsaKey(t, 2048)
	keys := func(cfg *ssh.ServerConfig) {
		cfg.PublicKeyCallback = func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			if !bytes.Equal(k.Marshal(), key.PublicKey().Marshal()) && !bytes.Equal(k.Marshal(), rsa.PublicKey().Marshal()) {
				return nil, errors.New("unknown key")
			}
			return nil, nil
		}
	}
	b := newBox(t, whole(), keys)
	questions := newBox(t, whole(), func(cfg *ssh.ServerConfig) {
		cfg.PasswordCallback = nil
		cfg.KeyboardInteractiveCallback = func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			answers, err := ask("", "", []string{"password: "}, []bool{false})
			if err == nil && answers[0] != testPassword {
				err = errors.New("wrong answer")
			}
			return nil, err
		}
	})
	for _, tt := range []struct {
		name     string
		box      *box
		password string
		key      ssh.Signer
		refused  bool
	}{
		{"password", b, testPassword, nil, false},
		{"Ed25519", b, "", key, false},
		{"RSA", b, "", rsa, false},
		{"another key and the password", b, testPassword, ed25519Key(t), false},
		{"wrong password", b, "x" + testPassword, nil, true},
		{"wrong key", b, "", ed25519Key(t), true},
		{"a box that asks questions", questions, testPassword, nil, true},
	} {
		cfg := tt.box.config()
		cfg.Password, cfg.Signer = tt.password, tt.key
		err := try(t, cfg)
		if tt.refused != errors.Is(err, routeros.ErrLogin) || tt.refused && !strings.Contains(err.Error(), "Username") || !tt.refused && err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestConfig(t *testing.T) {
	b := newBox(t, whole())
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no port":             {func(c *Config) { c.Address = "box" }, "Address"},
		"no user":             {func(c *Config) { c.Username = "" }, "Username"},
		"no secret":           {func(c *Config) { c.Password = "" }, "Password"},
		"no host key":         {func(c *Config) { c.HostKey = "" }, "HostKey"},
		"two host keys":       {func(c *Config) { c.KnownHosts = "x" }, "HostKey"},
		"a damaged host key":  {func(c *Config) { c.HostKey = "ssh-ed25519 AAAA" }, "HostKey"},
		"two pinned keys":     {func(c *Config) { c.HostKey += authorized(ed25519Key(t).PublicKey()) }, "HostKey"},
		"a short fingerprint": {func(c *Config) { c.HostKey = "SHA256:AAAA" }, "HostKey"},
		"an ECDSA host key":   {func(c *Config) { c.HostKey = authorized(ecdsaKey(t).PublicKey()) }, "ecdsa-sha2-nistp256"},
		"no such file":        {func(c *Config) { c.HostKey, c.KnownHosts = "", "/nonexistent/known_hosts" }, "KnownHosts"},
		"a negative timeout":  {func(c *Config) { c.CommandTimeout = -1 }, "CommandTimeout"},
		"an ECDSA key":        {func(c *Config) { c.Signer = ecdsaKey(t) }, "ecdsa-sha2-nistp256"},
		"a short RSA key":     {func(c *Config) { c.Signer = rsaKey(t, 1024) }, "1024 bits"},
	} {
		cfg := b.config()
		tt.change(&cfg)
		if err := try(t, cfg); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseKey(t *testing.T) {
	encode := func(block *pem.Block, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(block)
	}
	secret := []byte("passphrase-secret")
	good := rawEd25519(t)
	plain := encode(ssh.MarshalPrivateKey(good, ""))
	locked := encode(ssh.MarshalPrivateKeyWithPassphrase(good, "", secret))
	short := encode(ssh.MarshalPrivateKey(rawRSA(t, 1024), ""))
	curve := encode(ssh.MarshalPrivateKey(rawECDSA(t), ""))
	for name, tt := range map[string]struct {
		pem, passphrase []byte
		want            error
	}{
		"Ed25519":            {plain, nil, nil},
		"with passphrase":    {locked, secret, nil},
		"without passphrase": {locked, nil, ErrConfig},
		"wrong passphrase":   {locked, []byte("passphrase-wrong"), ErrConfig},
		"no key":             {[]byte("secret"), nil, ErrConfig},
		"ECDSA":              {curve, nil, ErrKey},
		"short RSA":          {short, nil, ErrKey},
	} {
		_, err := ParseKey(tt.pem, tt.passphrase)
		if !errors.Is(err, tt.want) || tt.want != nil && !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "passphrase-") {
			t.Errorf("%s: the error shows a secret: %v", name, err)
		}
	}
}

// A box that takes connections and says nothing is given up within the deadline of either kind.
func TestDialDeadline(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	b := newBox(t, whole())
	cfg := b.config()
	cfg.Address = l.Addr().String()
	cfg.DialTimeout = 20 * time.Millisecond
	if err := try(t, cfg); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("own deadline: %v", err)
	}
	cfg.DialTimeout = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if c, err := Dial(ctx, cfg); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the caller's deadline: %v, %v", c, err)
	}
	cfg.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, os.ErrPermission }
	if err := try(t, cfg); !errors.Is(err, os.ErrPermission) {
		t.Errorf("the network's error: %v", err)
	}
}

// A peer may say anything before the login fails.
func TestHandshakeErrorHasNoSecret(t *testing.T) {
	cfg := Config{Password: testPassword}
	if err := new(trust).explain(t.Context(), cfg, errors.New("ssh: disconnect: "+testPassword)); strings.Contains(err.Error(), testPassword) {
		t.Errorf("the error shows the password: %v", err)
	}
}

func TestLogHasNoSecret(t *testing.T) {
	var log bytes.Buffer
	b := newBox(t, whole())
	b.dial(func(cfg *Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	if s := log.String(); !strings.Contains(s, "SHA256:") || strings.Contains(s, testPassword) {
		t.Errorf("log: %s", s)
	}
}
