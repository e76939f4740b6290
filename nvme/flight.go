// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rds-csi/rds-csi/actors"
)

// A group runs calls that cannot be interrupted, one per key at a time. Its zero value is ready.
type group struct {
	mu    sync.Mutex
	calls map[string]*call
}

type call struct {
	done  chan struct{} // closed when the call returned
	value any           // valid once done is closed
	err   error         // valid once done is closed
}

// share runs f, or joins the call that runs under the same key. When ctx ends first the call goes
// on, and the answer is ErrUnresolved.
func share[T any](ctx context.Context, g *group, key string, f func() (T, error)) (T, error) {
	var none T
	c := g.start(key, func() (any, error) { return f() })
	select {
	case <-c.done:
	case <-ctx.Done():
		return none, fmt.Errorf("the kernel has not finished to %s: %w: %w", key, context.Cause(ctx), actors.ErrUnresolved)
	}
	if c.err != nil {
		return none, c.err
	}
	value, ok := c.value.(T)
	if !ok {
		return none, fmt.Errorf("two kinds of call share the name %q: %w", key, actors.ErrUnavailable)
	}
	return value, nil
}

// do is share for a call that returns nothing but an error.
func (g *group) do(ctx context.Context, key string, f func() error) error {
	_, err := share(ctx, g, key, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// start returns the call that runs under a key, after starting it where there is none.
func (g *group) start(key string, f func() (any, error)) *call {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.calls[key]; c != nil {
		return c
	}
	c := &call{done: make(chan struct{})}
	if g.calls == nil {
		g.calls = make(map[string]*call)
	}
	g.calls[key] = c
	go func() {
		c.value, c.err = f()
		g.mu.Lock()
		delete(g.calls, key)
		g.mu.Unlock()
		close(c.done)
	}()
	return c
}

// under returns the rest of the keys with a prefix under which calls run.
func (g *group) under(prefix string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var found []string
	for key := range g.calls {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			found = append(found, rest)
		}
	}
	return found
}

// wait returns once no call runs under a key, whatever came of it. When ctx ends first the answer is
// ErrUnresolved.
func (g *group) wait(ctx context.Context, key string) error {
	g.mu.Lock()
	c := g.calls[key]
	g.mu.Unlock()
	if c == nil {
		return nil
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the kernel has not finished to %s: %w: %w", key, context.Cause(ctx), actors.ErrUnresolved)
	}
}

// poll calls cond at once and then at intervals, until it is true, fails, or ctx ends; then the
// error is ctx's cause. sysfs tells nobody when it changes.
func poll(ctx context.Context, every time.Duration, cond func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if ok, err := cond(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
