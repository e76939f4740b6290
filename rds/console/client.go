// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/ssh"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// A Client is one logged-in connection. Its methods may be called from any goroutine.
type Client struct {
	cfg   Config
	conn  net.Conn
	ssh   ssh.Conn
	turns turns
	donec chan struct{} // closed when the connection has failed
	loops sync.WaitGroup

	mu  sync.Mutex
	err error // why the connection has failed
}

// Dial connects and logs in, within ctx and Config.DialTimeout. The error wraps ErrConfig where a setting
// cannot be used, a *HostKeyError where the box is not the one that is trusted, routeros.ErrLogin where it
// refused the user, and is the network's otherwise. None contains a secret.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("configure SSH: %w", err)
	}
	trust, err := newTrust(cfg)
	if err != nil {
		return nil, fmt.Errorf("configure SSH: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.DialTimeout)
	defer cancel()
	conn, err := cfg.DialContext(ctx, "tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("connect to box: %w", err)
	}
	c, err := handshake(ctx, conn, cfg, trust)
	if err != nil {
		return nil, fmt.Errorf("log in to box %s as %q: %w", cfg.Address, cfg.Username, err)
	}
	return c, nil
}

// handshake logs in on conn, which it closes if it fails.
func handshake(ctx context.Context, conn net.Conn, cfg Config, trust *trust) (*Client, error) {
	stop := context.AfterFunc(ctx, func() {
		_ = conn.Close() // the handshake fails with it
	})
	peer, chans, reqs, err := ssh.NewClientConn(&halfConn{Conn: conn}, cfg.Address, &ssh.ClientConfig{
		User: cfg.Username, Auth: auth(cfg), HostKeyCallback: trust.check,
		HostKeyAlgorithms: trust.algorithms, ClientVersion: "SSH-2.0-rds-csi",
	})
	if !stop() {
		err = errors.Join(err, context.Cause(ctx))
	}
	if err != nil {
		_ = conn.Close() // given up for a reason of its own
		return nil, trust.explain(ctx, cfg, err)
	}
	c := &Client{cfg: cfg, conn: conn, ssh: peer, donec: make(chan struct{})}
	c.loops.Go(func() { ssh.DiscardRequests(reqs) })
	c.loops.Go(func() {
		for ch := range chans {
			_ = ch.Reject(ssh.Prohibited, "") // a box opens no channels
		}
	})
	c.loops.Go(func() {
		err := peer.Wait()
		c.fail(fmt.Errorf("the connection was lost: %w", redacted{err, c.redact}))
	})
	cfg.Logger.Debug("logged in over SSH", "address", cfg.Address, "host-key", ssh.FingerprintSHA256(trust.seen))
	return c, nil
}

// A halfConn is a connection that takes nothing any more when there is nothing to come: a channel that is
// opened when the SSH client has just seen the end of the connection would never be answered.
type halfConn struct {
	net.Conn
	ended atomic.Bool
}

// Read implements net.Conn.
func (c *halfConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.ended.Store(true)
	}
	return n, err
}

// Write implements net.Conn.
func (c *halfConn) Write(b []byte) (int, error) {
	if c.ended.Load() {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

// auth returns the ways to log in, the key first. What asks questions is not among them.
func auth(cfg Config) []ssh.AuthMethod {
	var methods []ssh.AuthMethod
	if cfg.Signer != nil {
		methods = append(methods, ssh.PublicKeys(cfg.Signer))
	}
	if cfg.Password != "" {
		methods = append(methods, ssh.Password(cfg.Password))
	}
	return methods
}

// explain gives the error of a handshake its kind.
func (t *trust) explain(ctx context.Context, cfg Config, err error) error {
	setting := "HostKey"
	if cfg.KnownHosts != "" {
		setting = "KnownHosts " + cfg.KnownHosts
	}
	var none *ssh.AlgorithmNegotiationError
	switch {
	case t.err != nil:
		return t.err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case t.seen == nil && errors.As(err, &none) && strings.Contains(err.Error(), "host key"):
		return &HostKeyError{Address: cfg.Address, Type: "of another type", Fingerprint: strings.Join(none.SupportedAlgorithms, " "), Setting: setting}
	case t.seen != nil && strings.Contains(err.Error(), "unable to authenticate"):
		return fmt.Errorf("%w: check Username, and Password or the private key: %s takes neither", routeros.ErrLogin, cfg.Address)
	}
	return redacted{err, cfg.redact}
}

// redact takes the password out of a text from the box, which may end in an error and a log.
func (cfg Config) redact(text string) string {
	if cfg.Password == "" {
		return text
	}
	return strings.ReplaceAll(text, cfg.Password, "***")
}

func (c *Client) redact(text string) string { return c.cfg.redact(text) }

// A redacted error shows its text without secrets.
type redacted struct {
	error
	redact func(string) string
}

func (r redacted) Error() string { return r.redact(r.error.Error()) }
func (r redacted) Unwrap() error { return r.error }

// Done returns a channel that is closed when the connection has failed or was closed.
func (c *Client) Done() <-chan struct{} { return c.donec }

// Err returns why the connection has failed: routeros.ErrClosed, the end of a command's context, or the
// network's error. It is nil while the connection lives.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Pending returns how many commands wait for the connection, besides the one that has it.
func (c *Client) Pending() int { return c.turns.waiting() }

// Close ends the connection and waits for the client's goroutines. A command under way fails with
// routeros.ErrClosed. It may be called more than once.
func (c *Client) Close() {
	c.fail(routeros.ErrClosed)
	c.loops.Wait()
}

// fail ends the connection. The first reason counts.
func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
		close(c.donec)
	}
	c.mu.Unlock()
	_ = c.conn.Close() // given up for a reason of its own
}
