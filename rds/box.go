// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/rds-csi/rds-csi/actors"
)

// A Box is one RDS. It is usable while the box is away, and answers actors.ErrUnavailable then.
type Box struct {
	cfg      Config
	sessions *sessionPool
	// gatherings send changes together, by class; nil where each goes by itself.
	gatherings []*gathering
	listings   listings
	ports      reservations
	expands    expands
	proven     atomic.Int64 // length of the longest comment that the box was seen to keep

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	loops  sync.WaitGroup
}

var _ actors.Box = (*Box)(nil)

// New returns a Box. It connects when it is first used. The error is actors.ErrInvalid.
func New(cfg Config) (*Box, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("configure box: %w", err)
	}
	if cfg.Transport == SSH {
		// One command at a time: RouterOS stalls when several share a connection.
		return newWith(cfg, dialSSH, 1, true), nil
	}
	return newWith(cfg, dialAPI, cfg.InFlight, false), nil
}

// newWith returns a Box with sessions of a kind. gather says that changes which wait are sent together.
func newWith(cfg Config, dial func(context.Context, Config) (session, error), width int, gather bool) *Box {
	b := &Box{cfg: cfg}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	cfg.Hooks.Connection(cfg.Address, false)
	b.sessions = newPool(b.ctx, cfg, func(ctx context.Context) (session, error) {
		s, err := dial(ctx, cfg)
		if err != nil {
			return nil, err
		}
		return gate(s, cfg.MayChange), nil
	}, width)
	if gather {
		b.gatherings = []*gathering{ordinary: {b: b}, urgent: {b: b}}
	}
	b.listings.wake = make(chan struct{}, 1)
	b.loops.Go(b.listLoop)
	return b
}

// Close ends the sessions and waits for the box's goroutines. Commands under way fail. It may be
// called more than once.
func (b *Box) Close() {
	b.cancel()
	b.loops.Wait()
	b.sessions.loops.Wait()
}
