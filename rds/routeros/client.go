// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package routeros

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config says how to reach a router.
type Config struct {
	// Address is host:port. RouterOS listens on 8728, and on 8729 with TLS.
	Address string
	// Username and Password of the login. Without TLS they cross the network in the clear.
	Username string
	Password string
	// TLS is the configuration of TLS; nil means none. An empty ServerName is taken from Address. A
	// router without a certificate offers anonymous Diffie-Hellman only, which Go does not speak.
	TLS *tls.Config
	// WriteTimeout is how long the router may take none of our bytes before the connection is given
	// up. Zero means 30 s.
	WriteTimeout time.Duration
	// DialContext opens the connection. Nil means TCP, with a keep-alive that finds a dead router
	// within half a minute.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// A Client is one logged-in connection. Its methods may be called from any goroutine.
type Client struct {
	conn         net.Conn
	password     string
	writeTimeout time.Duration
	maxReply     int

	heard atomic.Int64  // Unix ns of the last sentence
	wake  chan struct{} // room for one: the queue has something
	donec chan struct{} // closed when the connection has failed
	loops sync.WaitGroup

	mu      sync.Mutex
	err     error            // why the connection has failed
	lastTag uint64           // of the last call; tags begin with 1
	pending map[uint64]*call // registered and not ended, by tag
	queue   []*call          // not yet taken by the writer, in order
}

// Dial connects and logs in, within ctx. It returns an error that wraps ErrLogin where the router
// refused the user, and the network's error otherwise. No error contains the password.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	dial := cfg.DialContext
	if dial == nil {
		dial = (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3,
		}}).DialContext
	}
	conn, err := dial(ctx, "tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("connect to router: %w", err)
	}
	if cfg.TLS != nil {
		if conn, err = handshake(ctx, conn, cfg); err != nil {
			return nil, fmt.Errorf("TLS handshake with router %s: %w", cfg.Address, err)
		}
	}
	c := newClient(conn, cfg)
	if err := c.login(ctx, cfg); err != nil {
		c.Close()
		return nil, fmt.Errorf("log in to router %s as %q: %w", cfg.Address, cfg.Username, err)
	}
	return c, nil
}

// handshake wraps conn, which it closes if it fails.
func handshake(ctx context.Context, conn net.Conn, cfg Config) (net.Conn, error) {
	tc := cfg.TLS.Clone()
	if tc.ServerName == "" {
		host, _, err := net.SplitHostPort(cfg.Address)
		if err != nil {
			host = cfg.Address
		}
		tc.ServerName = host
	}
	secure := tls.Client(conn, tc)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secure, nil
}

func newClient(conn net.Conn, cfg Config) *Client {
	c := &Client{
		conn:         conn,
		password:     cfg.Password,
		writeTimeout: cfg.WriteTimeout,
		maxReply:     MaxReply,
		wake:         make(chan struct{}, 1),
		donec:        make(chan struct{}),
		pending:      make(map[uint64]*call),
	}
	if c.writeTimeout <= 0 {
		c.writeTimeout = 30 * time.Second
	}
	c.heard.Store(time.Now().UnixNano())
	c.loops.Go(c.readLoop)
	c.loops.Go(c.writeLoop)
	return c
}

func (c *Client) login(ctx context.Context, cfg Config) error {
	reply, err := c.Run(ctx, "/login", "=name="+cfg.Username, "=password="+cfg.Password)
	var trap *Trap
	switch {
	case errors.As(err, &trap):
		return fmt.Errorf("%w: %w", ErrLogin, err)
	case err != nil:
		return err
	case reply.Done.Get("ret") != "":
		return fmt.Errorf("%w: the router asks for the login of RouterOS before 6.43, which is not supported", ErrLogin)
	}
	return nil
}

// Done returns a channel that is closed when the connection has failed or was closed.
func (c *Client) Done() <-chan struct{} { return c.donec }

// Err returns why the connection has failed: ErrClosed, a *Fatal, an error that wraps ErrMalformed,
// or the network's. It is nil while the connection lives.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Heard returns when the router last sent something.
func (c *Client) Heard() time.Time { return time.Unix(0, c.heard.Load()) }

// Pending returns how many commands wait for an answer.
func (c *Client) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending)
}

// Close ends the connection and waits for the client's goroutines. Commands that are pending fail
// with ErrClosed. It may be called more than once.
func (c *Client) Close() {
	c.fail(ErrClosed)
	c.loops.Wait()
}

// fail ends the connection and every pending command.
func (c *Client) fail(err error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = err
		for _, cl := range c.pending {
			c.end(cl, err)
		}
		c.queue = nil
		close(c.donec)
	}
	c.mu.Unlock()
	if !first {
		return
	}
	// Of a TLS connection the close_notify is spared: it could wait for a router that reads nothing.
	conn := c.conn
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	_ = conn.Close() // the connection is given up for a reason of its own
}

func (c *Client) readLoop() {
	r := NewReader(c.conn)
	for {
		words, err := r.ReadSentence()
		if err == nil {
			c.heard.Store(time.Now().UnixNano())
			err = c.deliver(words)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("router closed the connection")
			}
			c.fail(err)
			return
		}
	}
}

func (c *Client) writeLoop() {
	for {
		select {
		case <-c.wake:
		case <-c.donec:
			return
		}
		// Whatever has gathered goes out in one write.
		batch := c.take()
		if len(batch) == 0 {
			continue
		}
		err := c.conn.SetWriteDeadline(time.Now().Add(c.writeTimeout))
		if err == nil {
			_, err = c.conn.Write(batch)
		}
		if err != nil {
			c.fail(fmt.Errorf("write to router: %w", err))
			return
		}
	}
}

// take empties the queue. From here on its calls count as sent, although the write may yet fail.
func (c *Client) take() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	var batch []byte
	for _, cl := range c.queue {
		batch = append(batch, cl.bytes...)
		cl.sent, cl.bytes = true, nil
	}
	c.queue = nil
	return batch
}

// wakeWriter tells the writer that the queue has something.
func (c *Client) wakeWriter() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// redact takes the password out of a text from the router, which may end in an error and a log.
func (c *Client) redact(text string) string {
	if c.password == "" {
		return text
	}
	return strings.ReplaceAll(text, c.password, "***")
}
