// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package routeros

import "context"

// A Listener receives the changes that a router reports while a listen command runs.
type Listener struct {
	c    *Client
	call *call
	stop func() bool // of the context's watch
}

// Listen sends a command that answers again and again, as "/disk/listen". buffer is how many changes
// may wait to be received; beyond that the listener ends with ErrOverflow, since the connection never
// waits for one of its users. Zero or less means 256. The error wraps ErrNotSent.
//
// The listener ends when ctx does, and must be closed.
func (c *Client) Listen(ctx context.Context, buffer int, words ...string) (*Listener, error) {
	if buffer <= 0 {
		buffer = 256
	}
	calls, err := c.start(ctx, buffer, words)
	if err != nil {
		return nil, err
	}
	l := &Listener{c: c, call: calls[0]}
	l.stop = context.AfterFunc(ctx, func() { c.abandon(context.Cause(ctx), l.call) })
	return l, nil
}

// Rows returns the channel of changes. An item that is gone comes as a Row with ".dead". The channel
// is closed when the listener has ended; what was received before can still be read from it.
func (l *Listener) Rows() <-chan Row { return l.call.rows }

// Err returns why the listener has ended: nil where the router ended it with a success, a *Trap where
// it refused, and otherwise an error that wraps ErrNotSent or ErrUnanswered beside the cause. It must
// be called after the channel was closed.
func (l *Listener) Err() error {
	<-l.call.donec
	return l.call.err
}

// Close ends the listener, on the router too. It may be called more than once.
func (l *Listener) Close() {
	l.stop()
	l.c.abandon(ErrClosed, l.call)
}
