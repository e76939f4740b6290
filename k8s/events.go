// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"

	"github.com/rds-csi/rds-csi/actors"
)

// EventsConfig is what Events needs. Client, Claims and Driver must be set.
type EventsConfig struct {
	Client kubernetes.Interface
	Claims *Claims
	// Driver is the component that events come from.
	Driver string
	// Instance is the pod or node that posts them. "" leaves it out.
	Instance string
	// Queue is how many events may wait. 0 is 4096, enough for every volume of a cluster to move once.
	Queue int
	// Timeout bounds each request. 0 is DefaultTimeout.
	Timeout time.Duration
	// Drain is how long Run goes on posting when it is to end. 0 is two seconds.
	Drain time.Duration
	// Posted is called with the reason of each event that was posted. nil: nobody counts.
	Posted func(reason string)
	// Inherited is called for each event that an earlier process may have died before it posted, with what
	// became of it: "told" where it is there, "posted" where it was not, "no_claim", "rejected", and "late"
	// where it can no longer be known. nil: nobody counts.
	Inherited func(result string)
	// Dropped is called with the cause for each event that was not: "queue_full", "no_claim", "rejected",
	// "unavailable", "repeated". nil: nobody counts.
	Dropped func(cause string)
	// Logger tells of dropped events. nil discards.
	Logger *slog.Logger
}

// Events posts what happens to volumes as events on their claims, where people look, and on
// VolumeAttachments what is wrong with those. One goroutine
// posts them in the order in which they came. Like every recorder of events it counts repeated ones
// up instead of posting them again, and stops a source that posts far too many; unlike others it goes on
// where the process before it ended.
type Events struct {
	config    EventsConfig
	queue     chan note     // closed by no one
	inherited chan []legacy // room for one: a process inherits once
	post      poster
}

var _ actors.Announcer = (*Events)(nil)

// A note is an event that waits for its claim to be found.
type note struct {
	message
	volume  actors.VolumeID
	grant   actors.Token            // Announcement.Grant
	about   *corev1.ObjectReference // nil: the volume's claim
	at      time.Time
	counted *record.EventCorrelateResult // nil until it is known what the event is about
}

// An event is tried again for about as long as an API server takes to be replaced.
const (
	attempts   = 8
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

// Bounds on how many events of a kind a claim may get. A drain makes four for each of its moves.
const (
	eventBurst   = 200
	eventRate    = 1  // a second
	eventSimilar = 50 // in ten minutes, before they are combined into one
)

const eventQueue = 4096

// NewEvents returns a poster of events. It is ErrInvalid where the Config is. Nothing is posted until
// Run runs.
func NewEvents(config EventsConfig) (*Events, error) {
	switch {
	case config.Client == nil || config.Claims == nil || config.Driver == "":
		return nil, fmt.Errorf("post events: a client, claims and the driver's name are needed: %w", actors.ErrInvalid)
	case config.Queue < 0:
		return nil, fmt.Errorf("post events: a queue of %d is not possible: %w", config.Queue, actors.ErrInvalid)
	case config.Queue == 0:
		config.Queue = eventQueue
	}
	if config.Timeout == 0 {
		config.Timeout = DefaultTimeout
	}
	if config.Drain == 0 {
		config.Drain = 2 * time.Second
	}
	if config.Posted == nil {
		config.Posted = func(string) {}
	}
	if config.Inherited == nil {
		config.Inherited = func(string) {}
	}
	if config.Dropped == nil {
		config.Dropped = func(string) {}
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Events{
		config:    config,
		queue:     make(chan note, config.Queue),
		inherited: make(chan []legacy, 1),
		post: poster{
			client:   config.Client,
			timeout:  config.Timeout,
			driver:   config.Driver,
			instance: config.Instance,
			correlator: record.NewEventCorrelatorWithOptions(record.CorrelatorOptions{
				BurstSize: eventBurst, QPS: eventRate, MaxEvents: eventSimilar,
			}),
		},
	}, nil
}

// Announce implements actors.Announcer. When the queue is full, the event is dropped.
func (e *Events) Announce(a actors.Announcement) {
	if m, ok := announced(a); ok {
		e.enqueue(note{message: m, volume: a.Volume, grant: a.Grant, at: a.At})
	}
}

// Report tells of trouble with a volume on a node: MountFailure, RecoveryFailed, StaleMountDetected or
// ConnectionFailure. The text must hold no secret. It does not block.
func (e *Events) Report(reason string, id actors.VolumeID, node actors.NodeID, text string) {
	e.enqueue(note{message: reported(reason, id, node, text), volume: id, at: time.Now()})
}

// tellAbout tells of trouble with an object that need not belong to a volume. It does not block.
func (e *Events) tellAbout(object *corev1.ObjectReference, reason, text string) {
	e.enqueue(note{message: message{reason: reason, warning: true, text: text}, about: object, at: time.Now()})
}

func (e *Events) enqueue(n note) {
	select {
	case e.queue <- n:
	default:
		e.drop(n, "queue_full", nil)
	}
}

// Run posts events until ctx ends, and then for as long as Config.Drain those that still wait.
func (e *Events) Run(ctx context.Context) error {
	var heir sync.WaitGroup
	defer heir.Wait()
	heir.Go(func() { e.tellInherited(ctx) })
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(e.config.Drain, cancel) })()
	for {
		select {
		case <-ctx.Done():
			for range len(e.queue) {
				e.tell(work, <-e.queue)
			}
			return nil
		case n := <-e.queue:
			e.tell(work, n)
		}
	}
}

// tell posts one event, or drops it. While the API server is away the others wait behind it: they
// could not be posted either.
func (e *Events) tell(ctx context.Context, n note) {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		err := e.try(ctx, &n)
		var final *dropError
		switch {
		case err == nil:
			e.config.Posted(n.reason)
			return
		case errors.Is(err, errTold):
			return
		case errors.As(err, &final):
			e.drop(n, final.cause, err)
			return
		case attempt == attempts:
			e.drop(n, "unavailable", err)
			return
		}
		select {
		case <-ctx.Done():
			e.drop(n, "unavailable", err)
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

// try goes one step further with an event than the try before got.
func (e *Events) try(ctx context.Context, n *note) error {
	if n.counted == nil {
		about, err := n.about, error(nil)
		if about == nil {
			about, err = e.config.Claims.Find(ctx, n.volume)
		}
		switch {
		case errors.Is(err, actors.ErrNotFound):
			return &dropError{cause: "no_claim", err: err}
		case err != nil:
			return err
		}
		if n.counted, err = e.post.count(*n, about); err != nil {
			return err
		}
	}
	return e.post.write(ctx, *n, n.counted)
}

// drop gives up on an event. A volume whose claim is gone is nothing to tell of.
func (e *Events) drop(n note, cause string, err error) {
	level := slog.LevelWarn
	if cause == "no_claim" {
		level = slog.LevelDebug
	}
	e.config.Logger.Log(context.Background(), level, "event was not posted",
		"reason", n.reason, "volume-id", n.volume, "cause", cause, "error", err)
	e.config.Dropped(cause)
}

// A dropError says that trying again is no use.
type dropError struct {
	cause string
	err   error
}

func (e *dropError) Error() string { return e.cause + ": " + e.err.Error() }
func (e *dropError) Unwrap() error { return e.err }
