// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package routeros

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// TestCancelOne ends one context among many commands that wait. Its caller returns although the
// router stays silent, the router is told, and everybody else gets an answer on the same connection,
// also after the late answer to the cancelled one.
func TestCancelOne(t *testing.T) {
	const others = 16
	cancelled, release := make(chan struct{}), make(chan struct{})
	c := dial(t, func(p *peer) {
		var tags []string
		var victim string
		for range others + 1 {
			words, tag := p.read()
			if words[0] == "/victim" {
				victim = tag
			} else {
				tags = append(tags, tag)
			}
		}
		close(cancelled)
		tag := p.want("/cancel", "="+strings.TrimPrefix(victim, "."))
		<-release
		p.send("!re", "=late=1", victim)
		p.send("!trap", "=category=2", "=message=interrupted", victim)
		p.send("!done", tag)
		p.send("!done", victim)
		for _, tag := range tags {
			p.send("!done", "=ret="+tag, tag)
		}
		tag = p.want("/after")
		p.send("!done", tag)
		p.drain()
	})
	ctx, cancel := context.WithCancelCause(testContext(t))
	tired := errors.New("tired of waiting")
	var wg sync.WaitGroup
	for i := range others {
		wg.Go(func() {
			if _, err := c.Run(testContext(t), fmt.Sprintf("/other/%d", i)); err != nil {
				t.Error(err)
			}
		})
	}
	go func() {
		<-cancelled
		cancel(tired)
	}()
	if _, err := c.Run(ctx, "/victim"); !errors.Is(err, ErrUnanswered) || !errors.Is(err, tired) {
		t.Errorf("cancelled command = %v, want ErrUnanswered and the cause", err)
	}
	close(release)
	wg.Wait()
	if _, err := c.Run(testContext(t), "/after"); err != nil {
		t.Errorf("command after the late answers: %v", err)
	}
}

// TestCancelUnsent ends the context of commands that the writer has not taken yet: they never reach
// the wire, and their error says so.
func TestCancelUnsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := make(chan struct{})
		c, err := Dial(t.Context(), pipe(t, func(p *peer) {
			<-read
			tag := p.want("/blocks/the/writer")
			p.send("!done", tag)
			tag = p.want("/after")
			p.send("!done", tag)
			p.drain()
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		blocked := make(chan error, 1)
		go func() {
			_, err := c.Run(t.Context(), "/blocks/the/writer")
			blocked <- err
		}()
		synctest.Wait()

		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan []Result, 1)
		go func() { results <- c.RunAll(ctx, []string{"/first"}, []string{"/second"}) }()
		synctest.Wait()
		cancel()
		for _, r := range <-results {
			if !errors.Is(r.Err, ErrNotSent) || errors.Is(r.Err, ErrUnanswered) {
				t.Errorf("command that was never taken = %v, want ErrNotSent", r.Err)
			}
		}
		close(read)
		if err := <-blocked; err != nil {
			t.Errorf("command before it: %v", err)
		}
		if _, err := c.Run(t.Context(), "/after"); err != nil {
			t.Errorf("command after it: %v", err)
		}
	})
}

func TestContextEndedBefore(t *testing.T) {
	c := dial(t, func(p *peer) {
		if words, _ := p.read(); words != nil {
			p.t.Errorf("%q reached the wire", words)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Run(ctx, "/set"); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v, want ErrNotSent", err)
	}
}

// TestRunAll sends two commands to a router that answers neither before it has both.
func TestRunAll(t *testing.T) {
	c := dial(t, func(p *peer) {
		first := p.want("/disk/set", "=nvme-tcp-export=no")
		second := p.want("/disk/set", "=nvme-tcp-export=yes")
		p.send("!done", second)
		p.send("!trap", "=message=no", first)
		p.drain()
	})
	results := c.RunAll(testContext(t), []string{"/disk/set", "=nvme-tcp-export=no"}, []string{"/disk/set", "=nvme-tcp-export=yes"})
	var trap *Trap
	if !errors.As(results[0].Err, &trap) || results[1].Err != nil {
		t.Errorf("results = %v, want a trap and a success", results)
	}
}

// TestRunAllTogether shows that commands of others do not come between two that belong together.
func TestRunAllTogether(t *testing.T) {
	c := dial(t, func(p *peer) {
		open := ""
		for {
			words, tag := p.read()
			if words == nil {
				return
			}
			pair, half, _ := strings.Cut(words[0][1:], "/")
			if open != "" && (half != "b" || pair != open) {
				p.t.Errorf("%s came between the halves of pair %s", words[0], open)
			}
			if open = ""; half == "a" {
				open = pair
			}
			p.send("!done", tag)
		}
	})
	ctx := testContext(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 20 {
				for _, r := range c.RunAll(ctx, []string{fmt.Sprintf("/%d/a", i)}, []string{fmt.Sprintf("/%d/b", i)}) {
					if r.Err != nil {
						t.Error(r.Err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestReplyTooLarge shows that a reply beyond the bound ends its command alone.
func TestReplyTooLarge(t *testing.T) {
	ready := make(chan struct{})
	c := dial(t, func(p *peer) {
		_, tag := p.read()
		<-ready
		for range 4 {
			p.send("!re", "=x="+strings.Repeat("x", 1000), tag)
		}
		cancel := p.want("/cancel", "="+strings.TrimPrefix(tag, "."))
		p.send("!done", tag)
		p.send("!done", cancel)
		tag = p.want("/after")
		p.send("!done", tag)
		p.drain()
	})
	c.mu.Lock()
	c.maxReply = 3000
	c.mu.Unlock()
	close(ready)
	if _, err := c.Run(testContext(t), "/print"); !errors.Is(err, ErrOverflow) || !errors.Is(err, ErrUnanswered) {
		t.Errorf("Run = %v, want ErrOverflow", err)
	}
	if _, err := c.Run(testContext(t), "/after"); err != nil {
		t.Error(err)
	}
}
