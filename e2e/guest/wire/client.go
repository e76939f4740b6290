// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// ErrClosed says that the connection has ended.
var ErrClosed = errors.New("the connection to the agent has ended")

// A Client asks the other side.
type Client struct {
	conn io.ReadWriteCloser
	out  writer
	done chan struct{} // closed when the connection has ended

	mu      sync.Mutex
	last    uint64                  // ID
	pending map[uint64]chan message // with room for one; nil: the connection has ended
}

// NewClient returns a client, whose Close closes the connection.
func NewClient(conn io.ReadWriteCloser) *Client {
	c := &Client{conn: conn, out: writer{w: conn}, done: make(chan struct{}), pending: map[uint64]chan message{}}
	go c.read()
	return c
}

// Close ends the connection and all calls under way.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	return err
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

func (c *Client) read() {
	defer close(c.done)
	in := newReader(c.conn)
	for {
		m, err := in.next()
		if err != nil {
			c.mu.Lock()
			c.pending = nil
			c.mu.Unlock()
			return
		}
		if !m.Done {
			continue
		}
		// An answer for which nobody waits any more is dropped.
		if reply, ok := c.take(m.ID); ok {
			reply <- m
		}
	}
}

func (c *Client) take(id uint64) (chan message, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	reply, ok := c.pending[id]
	delete(c.pending, id)
	return reply, ok
}

// Call asks for op and decodes the answer into result, which may be nil. What the other side answers as an
// error is a RemoteError.
func (c *Client) Call(ctx context.Context, op string, args, result any) error {
	text, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("%s: encode the request: %w", op, err)
	}
	reply := make(chan message, 1)
	c.mu.Lock()
	if c.pending == nil {
		c.mu.Unlock()
		return fmt.Errorf("%s: %w", op, ErrClosed)
	}
	c.last++
	id := c.last
	c.pending[id] = reply
	c.mu.Unlock()
	defer c.take(id)
	if err := c.out.send(message{ID: id, Op: op, Args: text}); err != nil {
		return fmt.Errorf("%s: %w: %w", op, ErrClosed, err)
	}
	select {
	case m := <-reply:
		return m.decode(op, result)
	case <-c.done:
		return fmt.Errorf("%s: %w", op, ErrClosed)
	case <-ctx.Done():
		err := fmt.Errorf("%s: no answer came: %w", op, context.Cause(ctx))
		return errors.Join(err, c.out.send(message{ID: id, Cancel: true}))
	}
}

// A RemoteError is an error of the other side.
type RemoteError struct{ Op, Message string }

// Error tells what was asked for and what came of it.
func (e RemoteError) Error() string { return e.Op + ": " + e.Message }

func (m message) decode(op string, result any) error {
	if m.Error != "" {
		return RemoteError{op, m.Error}
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(m.Result, result); err != nil {
		return fmt.Errorf("%s: read the answer: %w", op, err)
	}
	return nil
}
