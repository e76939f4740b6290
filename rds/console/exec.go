// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// Run sends one line to the console and returns what it prints. The line must hold nothing from outside
// that has not passed CheckWord. The error wraps exactly one of routeros.ErrNotSent,
// routeros.ErrUnanswered and *routeros.Trap; the last where the output is an error of the console's. The
// output is complete only where there is none.
//
// When ctx or Config.CommandTimeout ends a line that was sent, the connection ends with it.
func (c *Client) Run(ctx context.Context, line string) (string, error) {
	x, err := c.exchange(ctx, line)
	switch {
	case err != nil:
		return "", err
	case x.err != nil:
		return x.out, fmt.Errorf("%w: %w", routeros.ErrUnanswered, x.err)
	case !x.exited:
		return x.out, fmt.Errorf("%w: %w", routeros.ErrUnanswered, errNoStatus)
	}
	if t := refusal(c.redact(x.out)); t != nil {
		return x.out, t
	}
	return x.out, nil
}

// errNoStatus says that nothing proves the output to be whole.
var errNoStatus = errors.New("the box ended the command without an exit status")

// exchange waits for the connection, sends a line and reads what comes of it. An error wraps
// routeros.ErrNotSent or *routeros.Trap.
func (c *Client) exchange(ctx context.Context, line string) (exchange, error) {
	if err := checkLine(line); err != nil {
		return exchange{}, err
	}
	if err := c.acquire(ctx); err != nil {
		return exchange{}, fmt.Errorf("%w: %w", routeros.ErrNotSent, err)
	}
	defer c.turns.release()
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CommandTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	defer stop()
	return c.converse(ctx, line)
}

func checkLine(line string) error {
	if len(line) > MaxScript || strings.ContainsAny(line, "\r\n\x00") {
		return fmt.Errorf("%w: the line has breaks or more than %d bytes", routeros.ErrNotSent, MaxScript)
	}
	return nil
}

// converse sends a line on a channel of its own and reads what comes of it, as exchange does for who has
// the connection.
func (c *Client) converse(ctx context.Context, line string) (exchange, error) {
	ch, requests, err := c.open()
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		c.notice(err)
		return exchange{}, fmt.Errorf("%w: open a session: %w", routeros.ErrNotSent, c.because(err))
	}
	x := exchange{redact: c.redact}
	accepted, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{line}))
	switch {
	case err != nil:
		c.notice(err)
		x.err = c.because(err)
		return x, nil
	case !accepted:
		go ssh.DiscardRequests(requests) // ends with the channel
		_ = ch.Close()                   // refused, so nothing is lost
		return x, &routeros.Trap{Category: routeros.CategoryNone, Message: "the box refuses to run commands over SSH: check the policies of the user"}
	}
	c.receive(ch, requests, &x)
	return x, nil
}

// open opens a channel, until the connection has failed, which it does at the deadline of a command.
// OpenChannel itself can wait for ever where the connection ends while it begins (see halfConn for the
// common case): it is left behind then.
func (c *Client) open() (ssh.Channel, <-chan *ssh.Request, error) {
	type opened struct {
		ch       ssh.Channel
		requests <-chan *ssh.Request
		err      error
	}
	openedc := make(chan opened, 1)
	go func() {
		ch, requests, err := c.ssh.OpenChannel("session", nil)
		openedc <- opened{ch, requests, err}
	}()
	select {
	case o := <-openedc:
		return o.ch, o.requests, o.err
	case <-c.donec:
		return nil, nil, c.Err()
	}
}

// notice ends the connection where an error shows that it has ended, by whatever words: who waits for the
// end is told only a little later, and nobody should be given the connection meanwhile. A box that refuses a
// channel is still there.
func (c *Client) notice(err error) {
	var rejected *ssh.OpenChannelError
	if !errors.As(err, &rejected) {
		c.fail(fmt.Errorf("the connection was lost: %w", redacted{err, c.redact}))
	}
}

// acquire waits for the caller's turn on the connection. Without an error, the turn must be given back.
func (c *Client) acquire(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if !c.turns.acquire(ctx, c.donec) {
		if err := c.Err(); err != nil {
			return err
		}
		return fmt.Errorf("wait for the connection: %w", context.Cause(ctx))
	}
	if err := c.Err(); err != nil {
		c.turns.release()
		return err
	}
	return nil
}

// because returns why the connection has failed, if it has, and err otherwise.
func (c *Client) because(err error) error {
	if why := c.Err(); why != nil {
		return why
	}
	return redacted{err, c.redact}
}

// receive reads all that comes of a command. It ends with the channel, which ends with the connection at
// the latest.
func (c *Client) receive(ch ssh.Channel, requests <-chan *ssh.Request, x *exchange) {
	var out, errs strings.Builder
	var failed error // of the second stream
	var loops sync.WaitGroup
	room := &allowance{left: int64(c.cfg.MaxOutput)}
	loops.Go(func() { failed = c.collect(&errs, ch.Stderr(), room) })
	loops.Go(func() {
		for r := range requests {
			x.exit(r)
			if r.WantReply {
				_ = r.Reply(false, nil) // the box has nothing to ask for
			}
		}
	})
	err := c.collect(&out, ch, room)
	loops.Wait()
	_ = ch.Close() // the box has closed it, or the connection has failed
	x.out = out.String() + errs.String()
	switch err = errors.Join(err, failed); {
	case err != nil:
		x.err = c.because(err)
	case !x.exited:
		x.err = c.Err() // nil where the box merely sent no status
	}
}

// An allowance is how many bytes of output may still be kept.
type allowance struct {
	mu   sync.Mutex
	left int64
}

func (a *allowance) take(n int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left -= int64(n)
	return a.left >= 0
}

// collect reads a stream to its end. More than is allowed ends the connection.
func (c *Client) collect(to *strings.Builder, from io.Reader, room *allowance) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !room.take(n) {
			c.fail(routeros.ErrOverflow)
			return routeros.ErrOverflow
		}
		to.Write(buf[:n])
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read output: %w", err)
		}
	}
}
