// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// An Output is what came of a line, as it came. It is for finding out how a box behaves.
type Output struct {
	Text   string // as the box sent it, with its ends of lines
	Exited bool   // the box told an exit status
	Status int    // the exit status
}

// Exec is Run that judges nothing: an error of the console's is output like any other. The error wraps
// routeros.ErrNotSent or routeros.ErrUnanswered, or is a *routeros.Trap where the box runs no lines at all.
func (c *Client) Exec(ctx context.Context, line string) (Output, error) {
	x, err := c.exchange(ctx, line)
	return x.raw(err)
}

// ExecTogether is Exec of several lines at the same time, each on a channel of its own of this one
// connection, which is what no other method does. The outputs are in the order of the lines. The error is
// the first line's that has one; the connection has then ended.
func (c *Client) ExecTogether(ctx context.Context, lines ...string) ([]Output, error) {
	for _, line := range lines {
		if err := checkLine(line); err != nil {
			return nil, err
		}
	}
	if err := c.acquire(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", routeros.ErrNotSent, err)
	}
	defer c.turns.release()
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CommandTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	defer stop()
	outputs, errs := make([]Output, len(lines)), make([]error, len(lines))
	var channels sync.WaitGroup
	for i, line := range lines {
		channels.Go(func() {
			x, err := c.converse(ctx, line)
			outputs[i], errs[i] = x.raw(err)
		})
	}
	channels.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return outputs, nil
}

// raw returns what came of an exchange that ended with err.
func (x exchange) raw(err error) (Output, error) {
	switch {
	case err != nil:
		return Output{}, err
	case x.err != nil:
		return Output{}, fmt.Errorf("%w: %w", routeros.ErrUnanswered, x.err)
	}
	return Output{Text: x.redact(x.out), Exited: x.exited, Status: x.status}, nil
}

// exit notes an exit status.
func (x *exchange) exit(r *ssh.Request) {
	if r.Type != "exit-status" {
		return
	}
	x.exited = true
	var told struct{ Status uint32 }
	if ssh.Unmarshal(r.Payload, &told) == nil {
		x.status = int(told.Status)
	}
}
