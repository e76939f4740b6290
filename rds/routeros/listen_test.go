// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package routeros

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestListen(t *testing.T) {
	c := dial(t, func(p *peer) {
		tag := p.want("/disk/listen", "?type=file")
		p.send("!re", "=.id=*1", "=slot=a", tag)
		p.send("!re", "=.id=*1", "=.dead=yes", tag)
		cancel := p.want("/cancel", "="+strings.TrimPrefix(tag, "."))
		p.send("!trap", "=category=2", "=message=interrupted", tag)
		p.send("!done", cancel)
		p.send("!done", tag)
		tag = p.want("/after")
		p.send("!done", tag)
		p.drain()
	})
	ctx, cancel := context.WithCancel(testContext(t))
	l, err := c.Listen(ctx, 0, "/disk/listen", "?type=file")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := <-l.Rows(); got.Get("slot") != "a" {
		t.Errorf("first change = %v", got)
	}
	if got := <-l.Rows(); got.Get(".dead") != "yes" {
		t.Errorf("second change = %v", got)
	}
	cancel()
	if got, open := <-l.Rows(); open {
		t.Errorf("change after the context ended: %v", got)
	}
	if err := l.Err(); !errors.Is(err, context.Canceled) {
		t.Errorf("Err = %v, want canceled", err)
	}
	if _, err := c.Run(testContext(t), "/after"); err != nil {
		t.Errorf("command after the listener: %v", err)
	}
}

// TestListenRefused shows how a listener ends that the router does not accept.
func TestListenRefused(t *testing.T) {
	c := dial(t, func(p *peer) {
		_, tag := p.read()
		p.send("!trap", "=category=0", "=message=no such command", tag)
		p.drain()
	})
	l, err := c.Listen(testContext(t), 0, "/disk/listen")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range l.Rows() {
		t.Error("a refused listener received a change")
	}
	var trap *Trap
	if err := l.Err(); !errors.As(err, &trap) || trap.Category != CategoryMissing {
		t.Errorf("Err = %v, want a trap", err)
	}
}

// TestDeadListener shows that a listener that nobody reads ends alone, with an error and what had
// room, while commands on the same connection are answered.
func TestDeadListener(t *testing.T) {
	const room = 3
	c := dial(t, func(p *peer) {
		listen := p.want("/disk/listen")
		run := p.want("/run")
		for i := range 10 * room {
			p.send("!re", fmt.Sprintf("=n=%d", i), listen)
		}
		p.send("!done", run)
		p.want("/cancel", "="+strings.TrimPrefix(listen, "."))
		run = p.want("/after")
		p.send("!done", run)
		p.drain()
	})
	l, err := c.Listen(testContext(t), room, "/disk/listen")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := c.Run(testContext(t), "/run"); err != nil {
		t.Errorf("command beside a dead listener: %v", err)
	}
	var got []string
	for row := range l.Rows() {
		got = append(got, row.Get("n"))
	}
	if fmt.Sprint(got) != "[0 1 2]" {
		t.Errorf("received %v, want the first %d", got, room)
	}
	if err := l.Err(); !errors.Is(err, ErrOverflow) {
		t.Errorf("Err = %v, want ErrOverflow", err)
	}
	if _, err := c.Run(testContext(t), "/after"); err != nil {
		t.Error(err)
	}
}

// TestListenClose shows that Close ends a listener on the router too, and once.
func TestListenClose(t *testing.T) {
	c := dial(t, func(p *peer) {
		tag := p.want("/disk/listen")
		p.want("/cancel", "="+strings.TrimPrefix(tag, "."))
		tag = p.want("/after")
		p.send("!done", tag)
		p.drain()
	})
	asked := testContext(t)
	l, err := c.Listen(asked, 1, "/disk/listen")
	if err != nil {
		t.Fatal(err)
	}
	// The listen command must be on its way, or there is nothing to cancel.
	for !isSent(l.call, c) {
		if asked.Err() != nil {
			t.Fatal("listen was never sent")
		}
	}
	l.Close()
	l.Close()
	if err := l.Err(); !errors.Is(err, ErrClosed) {
		t.Errorf("Err = %v, want ErrClosed", err)
	}
	if _, err := c.Run(asked, "/after"); err != nil {
		t.Error(err)
	}
}

func isSent(cl *call, c *Client) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cl.sent
}
