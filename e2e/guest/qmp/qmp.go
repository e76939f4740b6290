// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
)

// ErrClosed says that the connection has ended, as that of a machine that is off has.
var ErrClosed = errors.New("the connection to QEMU has ended")

// An Event is something that happened to the machine.
type Event struct {
	Name string          `json:"event"`
	Data json.RawMessage `json:"data"`
}

// A CommandError is QEMU's answer to a command that failed.
type CommandError struct {
	Command string `json:"-"`
	Class   string `json:"class"`
	Desc    string `json:"desc"`
}

// Error tells which command failed and why.
func (e *CommandError) Error() string { return e.Command + ": " + e.Desc }

// A line is what QEMU sends: a greeting, an answer or an event.
type line struct {
	Greeting json.RawMessage `json:"QMP"`
	ID       string          `json:"id"`
	Return   json.RawMessage `json:"return"`
	Error    *CommandError   `json:"error"`
	Event
}

// A Client speaks to one machine.
type Client struct {
	conn io.ReadWriteCloser
	done chan struct{} // closed when the connection has ended

	mu      sync.Mutex
	last    uint64
	pending map[string]chan line // with room for one; nil: the connection has ended
	events  []Event
	more    chan struct{} // closed, and made anew, with each event

	sending sync.Mutex // held while a command is written
}

// New takes a new connection, waits for QEMU's greeting and begins the command mode. Closing the connection ends
// the wait.
func New(ctx context.Context, conn io.ReadWriteCloser) (*Client, error) {
	c := &Client{conn: conn, done: make(chan struct{}), pending: map[string]chan line{}, more: make(chan struct{})}
	greeted := make(chan struct{})
	go c.read(greeted)
	select {
	case <-greeted:
	case <-c.done:
		return nil, fmt.Errorf("wait for QEMU's greeting: %w", ErrClosed)
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("wait for QEMU's greeting: %w", context.Cause(ctx)), c.Close())
	}
	if err := c.Execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Close ends the connection, not the machine.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	return err
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

func (c *Client) read(greeted chan<- struct{}) {
	defer close(c.done)
	defer func() {
		c.mu.Lock()
		c.pending = nil
		c.mu.Unlock()
	}()
	in := json.NewDecoder(bufio.NewReader(c.conn))
	for {
		var l line
		if in.Decode(&l) != nil {
			return
		}
		switch {
		case l.Greeting != nil && greeted != nil:
			close(greeted)
			greeted = nil
		case l.Name != "":
			c.mu.Lock()
			c.events = append(c.events, l.Event)
			close(c.more)
			c.more = make(chan struct{})
			c.mu.Unlock()
		case l.ID != "":
			if reply := c.take(l.ID); reply != nil {
				reply <- l
			}
		}
	}
}

func (c *Client) take(id string) chan line {
	c.mu.Lock()
	defer c.mu.Unlock()
	reply := c.pending[id]
	delete(c.pending, id)
	return reply
}

// Execute carries a command out and decodes the answer into result, which may be nil. What QEMU refuses is a
// CommandError.
func (c *Client) Execute(ctx context.Context, command string, args map[string]any, result any) error {
	reply := make(chan line, 1)
	c.mu.Lock()
	if c.pending == nil {
		c.mu.Unlock()
		return fmt.Errorf("%s: %w", command, ErrClosed)
	}
	c.last++
	id := strconv.FormatUint(c.last, 10)
	c.pending[id] = reply
	c.mu.Unlock()
	defer c.take(id)
	if err := c.send(command, id, args); err != nil {
		return err
	}
	select {
	case l := <-reply:
		return l.decode(command, result)
	case <-c.done:
		return fmt.Errorf("%s: %w", command, ErrClosed)
	case <-ctx.Done():
		return fmt.Errorf("%s: no answer came: %w", command, context.Cause(ctx))
	}
}

func (c *Client) send(command, id string, args map[string]any) error {
	request := map[string]any{"execute": command, "id": id}
	if args != nil {
		request["arguments"] = args
	}
	text, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	c.sending.Lock()
	defer c.sending.Unlock()
	if _, err := c.conn.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("%s: %w: %w", command, ErrClosed, err)
	}
	return nil
}

func (l line) decode(command string, result any) error {
	if l.Error != nil {
		l.Error.Command = command
		return l.Error
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(l.Return, result); err != nil {
		return fmt.Errorf("%s: read the answer: %w", command, err)
	}
	return nil
}

// Human carries out a command of the monitor for people and returns what it prints.
func (c *Client) Human(ctx context.Context, command string) (text string, err error) {
	err = c.Execute(ctx, "human-monitor-command", map[string]any{"command-line": command}, &text)
	return text, err
}

// Events returns how many events there were, for Await.
func (c *Client) Events() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.events)
}

// Await waits for an event of one of the names, other than the first so many, and returns it.
func (c *Client) Await(ctx context.Context, after int, names ...string) (Event, error) {
	for {
		c.mu.Lock()
		fresh, more := c.events[min(after, len(c.events)):], c.more
		after = len(c.events)
		c.mu.Unlock()
		for _, e := range fresh {
			if slices.Contains(names, e.Name) {
				return e, nil
			}
		}
		select {
		case <-more:
		case <-c.done:
			// What came last may not have been looked at.
			if c.Events() == after {
				return Event{}, fmt.Errorf("wait for the event %v: %w", names, ErrClosed)
			}
		case <-ctx.Done():
			return Event{}, fmt.Errorf("wait for the event %v: %w", names, context.Cause(ctx))
		}
	}
}
