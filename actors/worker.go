// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// context returns the context of an effect: it belongs to the trace of the request it serves, but
// not to its caller, whose deadline must not cut it short.
func (a *actor) context(e Effect) context.Context {
	var leader Waiter
	switch e := e.(type) {
	case ReadRow:
		leader = e.For
	case GrantRow:
		leader = e.For
	case RevokeRow:
		leader = e.For
	case Run:
		leader = e.For
	case Admit:
		leader = e.For
	case Judge:
		leader = e.For
	case Adopt:
		leader = e.For
	case Confirm: // nobody's request
	case Reply, Joined, Announce: // talk to nobody
	}
	ctx := a.sup.work
	if msg, ok := a.waiters[leader]; ok {
		ctx = trace.ContextWithSpanContext(ctx, msg.span.SpanContext())
	}
	return ctx
}

// work carries out one effect that talks to the box or to the orchestrator, in a goroutine of its own,
// and reports its result.
func (a *actor) work(ctx context.Context, e Effect) {
	done := Done{Err: fmt.Errorf("the operation panicked: %w", ErrUnresolved)}
	defer func() {
		if p := recover(); p != nil {
			a.sup.cfg.Logger.Error("operation panicked", "volume-id", string(a.id), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			a.sup.cfg.Hooks.panicked()
		}
		a.results <- done // has room: one effect is in flight at a time
	}()
	switch e := e.(type) {
	case ReadRow:
		ctx, span := a.span(ctx, "volume.read")
		done.Volume, done.Err = a.sup.cfg.Box.Read(ctx, a.id)
		end(span, done.Err)
	case GrantRow:
		done.Err = a.write(ctx, "volume.grant", e.Write)
	case RevokeRow:
		done.Err = a.write(ctx, "volume.revoke", e.Write)
	case Run:
		ctx, span := a.span(ctx, "volume."+string(e.Op.Kind))
		done.Volume, done.Err = e.Op.Run(ctx)
		end(span, done.Err)
	case Confirm, Admit, Judge, Adopt:
		a.inquire(ctx, e, &done)
	case Reply, Joined, Announce: // the loop carries them out itself
	}
}

// inquire carries out an effect that asks the orchestrator. Whatever becomes of it, nothing was changed.
func (a *actor) inquire(ctx context.Context, e Effect, done *Done) {
	done.Err = fmt.Errorf("the question panicked: %w", ErrUnavailable)
	o := a.sup.cfg.Orchestrator
	switch e := e.(type) {
	case Confirm:
		ctx, span := a.span(ctx, "volume.confirm-stale", nodeAttr(e.Node))
		if done.Err = a.sup.frozen(ctx); done.Err == nil {
			done.Lost, done.Err = o.Stale(ctx, a.id, e.Node)
		}
		end(span, nil) // that it is not stale is no failure
	case Admit:
		ctx, span := a.span(ctx, "volume.admit", nodeAttr(e.Target), attribute.String("rds_csi.policy", e.Policy.String()))
		done.Err = o.Admit(ctx, a.id, e.Holder, e.Target, e.Policy)
		end(span, done.Err)
	case Judge:
		ctx, span := a.span(ctx, "volume.judge")
		done.Migration, done.Err = o.Migration(ctx, a.id, e.Source, e.Target)
		span.SetAttributes(attribute.String("rds_csi.migration.verdict", done.Migration.Verdict.String()))
		if errors.Is(done.Err, ErrNotFound) {
			end(span, nil)
			return
		}
		end(span, done.Err)
	case Adopt:
		ctx, span := a.span(ctx, "volume.adopt")
		done.Adoption, done.Err = o.Adopt(ctx, a.id)
		end(span, done.Err)
	case ReadRow, GrantRow, RevokeRow, Run, Reply, Joined, Announce: // ask nobody
	}
}

func (a *actor) write(ctx context.Context, name string, w Write) error {
	row := w.last()
	ctx, span := a.span(ctx, name,
		attribute.Int64("rds_csi.ledger.gen", int64(row.Ledger.Gen)), //nolint:gosec // a gen counts writes
		attribute.Bool("rds_csi.export", row.Export),
		attribute.Int("rds_csi.grants", len(row.Ledger.Grants)),
		attribute.Bool("rds_csi.bounce", len(w.Rows) > 1))
	err := a.sup.cfg.Box.Write(ctx, w)
	end(span, err)
	return err
}

func (a *actor) span(ctx context.Context, name string, attrs ...attribute.KeyValue) (context.Context, trace.Span) {
	attrs = append(attrs, volumeAttr(a.id))
	return a.sup.cfg.Tracer.Start(ctx, name, trace.WithAttributes(attrs...))
}

func volumeAttr(id VolumeID) attribute.KeyValue {
	return attribute.String("rds_csi.volume.id", string(id))
}

// end ends a span with the outcome of what it covers.
func end(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
