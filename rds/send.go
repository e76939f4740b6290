// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

// A command is what is sent in one go.
type command struct {
	kind   string
	volume actors.VolumeID
	class  class
	// seen is the listing whose .id the command uses, nil where it uses none. It is sent on a session
	// that is older than the listing: a session that is younger may be with a box that has restarted
	// since, and numbered its rows anew.
	seen *snapshot
}

// errElsewhere is what a command that was not sent wraps where the operation may be tried again at once:
// its session was lost, or is younger than the listing, or the row has changed since.
var errElsewhere = errors.New("it needs another session or a new listing")

// errYoung is errElsewhere where the session that was to be had is younger than the listing.
var errYoung = fmt.Errorf("the session is younger than the listing: %w", errElsewhere)

// change carries out a change, within the command deadline.
func (b *Box) change(ctx context.Context, cmd command, c change) answer {
	var a answer
	_ = b.observe(ctx, cmd, func(ctx context.Context, sent func(*member)) error {
		left := false
		leave := func(m *member) { left = true; sent(m) }
		if b.gatherings != nil {
			a = b.gatherings[cmd.class].change(ctx, cmd, c, leave)
		} else if err := b.on(ctx, cmd, leave, func(s session) error {
			a = s.Change(ctx, c)[0]
			return a.err
		}); a.err == nil {
			a.err = err
		}
		if left && ctx.Err() == nil && (fateOf(a.err) == unsent || isStale(a.err)) {
			a.err = fmt.Errorf("%w: %w", a.err, errElsewhere)
		}
		if a.err == nil {
			return a.first
		}
		return a.err
	}) // it is in the answer
	return a
}

// observe tells the hooks and a span of a command, and gives it its deadline. do calls sent when it has a
// session; until then the command is waiting.
func (b *Box) observe(ctx context.Context, cmd command, do func(ctx context.Context, sent func(*member)) error) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.CommandTimeout)
	defer cancel()
	ctx, span := b.cfg.Tracer.Start(ctx, "rds."+cmd.kind, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("server.address", b.cfg.Address)))
	defer span.End()
	if cmd.volume != "" {
		span.SetAttributes(attribute.String("rds_csi.volume.id", string(cmd.volume)))
	}
	begin, left := time.Now(), false
	err := do(ctx, func(m *member) {
		begin, left = time.Now(), true
		span.AddEvent("session taken")
		span.SetAttributes(attribute.String("rds_csi.session", m.lane))
	})
	if !left && errors.Is(err, errElsewhere) {
		span.AddEvent("the session is younger than the listing")
		return err
	}
	failed := err
	if cmd.kind == KindRemoveFile && fateOf(err) == refused && saysMissing(err) {
		failed = nil // the proof that a file is gone, which every delete asks for
		span.AddEvent("no such file")
	}
	b.cfg.Hooks.Command(cmd.kind, time.Since(begin), failed)
	if failed != nil {
		span.RecordError(failed)
		span.SetStatus(codes.Error, "command failed")
	}
	return err
}

// on takes a place on a session and does something there.
func (b *Box) on(ctx context.Context, cmd command, sent func(*member), do func(session) error) error {
	m, err := b.place(ctx, cmd)
	if err != nil {
		return err
	}
	sent(m)
	err = do(m)
	if lacksRights(err) {
		b.sessions.renew(m)
	}
	f := fateOf(err)
	b.sessions.give(m, f == acknowledged || f == refused)
	return err
}

// place takes a place on a session that may carry the command.
func (b *Box) place(ctx context.Context, cmd command) (*member, error) {
	before := ^uint64(0)
	if cmd.seen != nil {
		before = cmd.seen.began
	}
	m, err := b.sessions.take(ctx, cmd.class, before)
	if err != nil {
		return nil, err
	}
	if m.born >= before {
		b.sessions.give(m, false)
		return nil, fmt.Errorf("%w: %w", routeros.ErrNotSent, errYoung)
	}
	return m, nil
}

// none is the result of an operation that has none.
type none struct{}

// again tries an operation anew that met with errElsewhere: three times in all, since a box whose sessions
// do not last that long, or on which somebody else keeps changing the row, is not to be used. A session
// that is too young does not count, as often as a pool can grow: in a storm, each new one is to be had
// before those that are older than the listing are free again.
func again[T any](ctx context.Context, try func() (T, error)) (T, error) {
	for met, young := 0, 0; ; {
		v, err := try()
		if errors.Is(err, errYoung) {
			young++
		} else {
			met++
		}
		if met == 3 || young > MaxSessions || !errors.Is(err, errElsewhere) || ctx.Err() != nil {
			return v, err
		}
	}
}
