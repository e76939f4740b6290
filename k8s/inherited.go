// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"errors"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/rds-csi/rds-csi/actors"
)

// eventLife is for how long after a migration's start an event of it is sure to be there still: an API server
// keeps events for an hour, unless its --event-ttl says otherwise, and clocks differ. Of an older migration
// nobody can tell whether its event was posted.
const eventLife = 50 * time.Minute

// What is inherited is not urgent. It waits until what this process has to say itself of the same migrations
// was posted, which says more, and is then looked at by one goroutine, at most so many a second.
const (
	headStart     = 2 * time.Second
	inheritedPace = 20 * time.Millisecond
)

// Inherit takes what actors.Config.Inherited hands over. Run posts those of its events that are not to be seen
// in the cluster. It does not block and, since a process inherits once, is called once.
func (e *Events) Inherit(as []actors.Announcement) {
	var left []legacy
	now := time.Now()
	for _, a := range as {
		m, ok := inherited(a)
		if l := (legacy{note{message: m, volume: a.Volume, grant: a.Grant, at: a.At}, a}); ok && l.once() && l.recent(now) {
			left = append(left, l)
		}
	}
	select {
	case e.inherited <- left:
	default:
		e.config.Logger.Error("events of an earlier process were handed over twice", "events", len(left))
	}
}

// A legacy is an event of which it is not known whether an earlier process posted it.
type legacy struct {
	note
	of actors.Announcement
}

// recent reports whether the event, if it was posted, is there still.
func (l legacy) recent(now time.Time) bool { return now.Before(l.grant.Time().Add(eventLife)) }

// tellInherited looks for each inherited event and posts it where there is none, until ctx ends: whoever is next
// goes on.
func (e *Events) tellInherited(ctx context.Context) {
	var left []legacy
	select {
	case <-ctx.Done():
		return
	case left = <-e.inherited:
	}
	if len(left) == 0 || !wait(ctx, headStart) {
		return
	}
	results := map[string]int{}
	for _, l := range left {
		result := e.tellOne(ctx, l)
		if result == "" {
			return
		}
		results[result]++
		e.config.Inherited(result)
		if !wait(ctx, inheritedPace) {
			return
		}
	}
	level := slog.LevelInfo
	if results["late"] > 0 {
		level = slog.LevelWarn // whether they were told, nobody knows
	}
	e.config.Logger.Log(ctx, level, "looked for the events of an earlier process", "results", results)
}

// tellOne looks for an inherited event until it is known what became of it, and returns that: "" if ctx ended
// before.
func (e *Events) tellOne(ctx context.Context, l legacy) string {
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		if !l.recent(time.Now()) {
			return "late"
		}
		result, err := e.tellUnlessThere(ctx, l)
		var final *dropError
		switch {
		case errors.As(err, &final):
			e.drop(l.note, final.cause, err)
			return final.cause
		case err == nil:
			return result
		}
		e.config.Logger.Debug("an earlier process's event cannot be looked for yet", "volume-id", l.volume, "error", err)
		if !wait(ctx, pause) {
			return ""
		}
	}
}

func (e *Events) tellUnlessThere(ctx context.Context, l legacy) (result string, err error) {
	about, err := e.config.Claims.Find(ctx, l.volume)
	switch {
	case errors.Is(err, actors.ErrNotFound):
		return "", &dropError{cause: "no_claim", err: err}
	case err != nil:
		return "", err
	}
	event := e.post.event(l.note, about)
	_, err = e.post.find(ctx, event.Namespace, event.Name)
	switch {
	case err == nil:
		return "told", nil
	case !Gone(err):
		return "", finally(err)
	}
	if event.Message, err = e.completed(ctx, l, about, event); err != nil {
		return "", finally(err)
	}
	_, err = e.post.create(ctx, event)
	switch {
	case apierrors.IsAlreadyExists(err):
		return "told", nil
	case err != nil:
		return "", finally(err)
	}
	e.config.Posted(l.reason)
	e.config.Logger.Info("told what an earlier process did not live to tell", "reason", l.reason, "volume-id", l.volume)
	return "posted", nil
}

// completed returns the event's text with both nodes of its migration. Of one that left the ledger knows no more,
// but the event of the migration's start does.
func (e *Events) completed(ctx context.Context, l legacy, about *corev1.ObjectReference, event *corev1.Event) (string, error) {
	if l.of.Source != "" && l.of.Target != "" {
		return event.Message, nil
	}
	start, err := e.post.find(ctx, event.Namespace, migrationEvent(about, l.volume, l.grant, migrationStart))
	switch {
	case err != nil && Gone(err):
		return event.Message, nil
	case err != nil:
		return "", err
	}
	a := l.of
	if source, target, ok := nodesIn(start.Message); ok {
		a.Source, a.Target = source, target
	}
	m, _ := inherited(a)
	return m.text, nil
}

// finally makes an error of the API server's a dropError where trying again is no use.
func finally(err error) error {
	if refused(err) {
		return &dropError{cause: "rejected", err: err}
	}
	return err
}

// wait waits, and reports false if ctx ended meanwhile.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
