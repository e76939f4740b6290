// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

// errClosed: the box was closed by its owner.
var errClosed = errors.New("the box is closed")

// A Box is one RDS. It is usable while the box is away, and answers actors.ErrUnavailable then.
type Box struct {
	cfg      Config
	urgent   *lane // reads and revokes
	bulk     *lane // everything else
	listings listings
	ports    reservations
	expands  expands
	proven   atomic.Int64 // length of the longest comment that the box was seen to keep

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	loops  sync.WaitGroup

	mu sync.Mutex
	up int // lanes with a session
}

var _ actors.Box = (*Box)(nil)

// New returns a Box. It connects when it is first used. The error is actors.ErrInvalid.
func New(cfg Config) (*Box, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("configure box: %w", err)
	}
	b := &Box{cfg: cfg}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	cfg.Hooks.Connection(cfg.Address, false)
	b.urgent, b.bulk = newLane("urgent", b), newLane("bulk", b)
	b.loops.Go(func() { b.urgent.run(b.ctx) })
	b.loops.Go(func() { b.bulk.run(b.ctx) })
	b.listings.wake = make(chan struct{}, 1)
	b.loops.Go(b.listLoop)
	return b, nil
}

// Close ends the sessions and waits for the box's goroutines. Commands under way fail. It may be
// called more than once.
func (b *Box) Close() {
	b.cancel()
	b.loops.Wait()
}

// linked counts the lanes that have a session.
func (b *Box) linked(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.up > 0
	b.up += n
	if is := b.up > 0; is != was {
		b.cfg.Hooks.Connection(b.cfg.Address, is)
	}
}

// A command is what is sent in one go.
type command struct {
	kind   string
	volume actors.VolumeID
	words  [][]string
}

// send carries out a command on a connection of a lane, within the command deadline. There is one
// result for each of its sentences.
func (b *Box) send(ctx context.Context, l *lane, conn *routeros.Client, cmd command) []routeros.Result {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.CommandTimeout)
	defer cancel()
	ctx, span := b.cfg.Tracer.Start(ctx, "rds."+cmd.kind, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("server.address", b.cfg.Address), attribute.String("rds_csi.session", l.name)))
	defer span.End()
	if cmd.volume != "" {
		span.SetAttributes(attribute.String("rds_csi.volume.id", string(cmd.volume)))
	}
	begin := time.Now()
	results := b.exchange(ctx, l, conn, cmd.words)
	var err error
	for _, r := range results {
		err = errors.Join(err, r.Err)
	}
	b.cfg.Hooks.Command(cmd.kind, time.Since(begin), err)
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, "command failed")
	}
	return results
}

// exchange waits for a place on the lane and runs the sentences.
func (b *Box) exchange(ctx context.Context, l *lane, conn *routeros.Client, words [][]string) []routeros.Result {
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return all(len(words), fmt.Errorf("wait for a place on the session: %w: %w", routeros.ErrNotSent, context.Cause(ctx)))
	case <-b.ctx.Done():
		return all(len(words), fmt.Errorf("%w: %w", routeros.ErrNotSent, errClosed))
	}
	begin := time.Now()
	results := conn.RunAll(ctx, words...)
	for _, r := range results {
		// A connection on which nothing came for the whole deadline is given up: the next command
		// deserves a new one.
		if errors.Is(r.Err, context.DeadlineExceeded) && !conn.Heard().After(begin) && time.Since(begin) >= b.cfg.CommandTimeout/2 {
			conn.Close()
			break
		}
	}
	return results
}

func all(n int, err error) []routeros.Result {
	results := make([]routeros.Result, n)
	for i := range results {
		results[i].Err = err
	}
	return results
}

// run carries out a command of one sentence.
func (b *Box) run(ctx context.Context, l *lane, conn *routeros.Client, cmd command) (routeros.Reply, error) {
	r := b.send(ctx, l, conn, cmd)[0]
	return r.Reply, r.Err
}
