// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/rds-csi/rds-csi/actors"
)

// The annotations of a PersistentVolume that say where it is attached, after the driver's name and a slash.
// They are for people, and nothing reads them. Where several nodes have the volume, both list them in
// the order of their grants, separated by commas. A detached volume has neither.
const (
	AttachedNode = "attached-node" // node names
	AttachedAt   = "attached-at"   // RFC 3339, in UTC
)

// AnnotationsConfig is what Annotations needs. Client, Claims and Driver must be set.
type AnnotationsConfig struct {
	Client kubernetes.Interface
	// Claims has the PersistentVolumes. Its Run must run beside that of Annotations.
	Claims *Claims
	// Driver is the CSI driver's name, with which the annotations' names begin.
	Driver string
	// Attached returns the nodes that had a volume before the first announcement about it, as
	// Attachments.Attached does. It must not block. nil: none had.
	Attached func(actors.VolumeID) []actors.Grant
	// Settle is how long to wait for more announcements before the first is written. 0 is one second.
	Settle time.Duration
	// Timeout bounds each request. 0 is DefaultTimeout.
	Timeout time.Duration
	// Drain is how long Run goes on writing when it is to end. 0 is two seconds.
	Drain time.Duration
	// Written is called for each PersistentVolume that was annotated. nil: nobody counts.
	Written func()
	// Dropped is called with the cause for each that was given up: "no_volume", "rejected", "unavailable".
	// nil: nobody counts.
	Dropped func(cause string)
	// Logger tells of those. nil discards.
	Logger *slog.Logger
}

// Annotations writes on each PersistentVolume where it is attached, for people who look at it with
// kubectl. One goroutine writes, one volume after the other, and of each only the latest.
type Annotations struct {
	config AnnotationsConfig
	wake   chan struct{} // holds one: queue may not be empty

	mu    sync.Mutex
	tags  map[actors.VolumeID]*tag // of every volume that was announced and has a PersistentVolume
	queue []actors.VolumeID        // to be written; those that are gone are passed over
}

// A tag is what is to stand on a volume.
type tag struct {
	grants []actors.Grant
	queued bool
	tries  int // that failed in a row
}

var _ actors.Announcer = (*Annotations)(nil)

const settle = time.Second

// noVolume is the cause for which a volume is given up that has no PersistentVolume.
const noVolume = "no_volume"

// NewAnnotations returns a writer of annotations. It is ErrInvalid where the Config is. Nothing is
// written until Run runs.
func NewAnnotations(config AnnotationsConfig) (*Annotations, error) {
	if config.Client == nil || config.Claims == nil || config.Driver == "" {
		return nil, fmt.Errorf("annotate PersistentVolumes: a client, claims and the driver's name are needed: %w", actors.ErrInvalid)
	}
	if config.Attached == nil {
		config.Attached = func(actors.VolumeID) []actors.Grant { return nil }
	}
	if config.Settle == 0 {
		config.Settle = settle
	}
	if config.Timeout == 0 {
		config.Timeout = DefaultTimeout
	}
	if config.Drain == 0 {
		config.Drain = 2 * time.Second
	}
	if config.Written == nil {
		config.Written = func() {}
	}
	if config.Dropped == nil {
		config.Dropped = func(string) {}
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Annotations{
		config: config,
		wake:   make(chan struct{}, 1),
		tags:   make(map[actors.VolumeID]*tag),
	}
	if _, err := config.Claims.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: a.deleted}); err != nil {
		return nil, fmt.Errorf("listen for PersistentVolumes: %w", err)
	}
	return a, nil
}

// Announce implements actors.Announcer.
func (a *Annotations) Announce(n actors.Announcement) {
	switch n.Kind {
	case actors.Attached, actors.Detached, actors.StaleCleared:
	case actors.Conflict, actors.MigrationStarted, actors.MigrationCompleted, actors.MigrationFailed, actors.MigrationTimedOut:
		return // nobody came or went
	default:
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tags[n.Volume]
	if t == nil {
		t = &tag{grants: a.config.Attached(n.Volume)}
		a.tags[n.Volume] = t
	}
	t.grants = slices.DeleteFunc(t.grants, func(g actors.Grant) bool { return g.Node == n.Node })
	if n.Kind == actors.Attached {
		t.grants = append(t.grants, actors.Grant{Node: n.Node, At: actors.TokenAt(n.At)})
	}
	a.enqueue(n.Volume, t)
}

// enqueue has a volume written, unless it waits for that already. The caller holds the lock.
func (a *Annotations) enqueue(id actors.VolumeID, t *tag) {
	if t.queued {
		return
	}
	t.queued = true
	a.queue = append(a.queue, id)
	select {
	case a.wake <- struct{}{}:
	default: // it is awake
	}
}

// deleted forgets a volume whose PersistentVolume is gone.
func (a *Annotations) deleted(object any) {
	if missed, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = missed.Obj
	}
	pv, ok := object.(*corev1.PersistentVolume)
	if !ok {
		return
	}
	id := actors.VolumeID(a.config.Claims.handle(pv))
	if id == "" || a.config.Claims.cached(id) != nil {
		return
	}
	a.forget(id)
}

func (a *Annotations) forget(id actors.VolumeID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.tags, id)
}

// Run writes annotations until ctx ends, and then for as long as Config.Drain those that still wait.
func (a *Annotations) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(a.config.Drain, cancel) })()
	for {
		select {
		case <-ctx.Done():
			a.flush(work)
			return nil
		case <-a.wake:
		}
		select {
		case <-ctx.Done():
		case <-time.After(a.config.Settle):
			a.flush(work)
		}
	}
}

// flush writes until nothing waits. A failure makes it pause, whichever volume's it was: most often the API
// server is away.
func (a *Annotations) flush(ctx context.Context) {
	pause := firstPause
	for {
		id, grants, ok := a.take()
		if !ok {
			return
		}
		err := a.write(ctx, id, grants)
		if a.settled(ctx, id, err) {
			pause = firstPause
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

// take returns the volume that waits longest, and what is to be written.
func (a *Annotations) take() (actors.VolumeID, []actors.Grant, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.queue) > 0 {
		id := a.queue[0]
		a.queue = a.queue[1:]
		if t := a.tags[id]; t != nil && t.queued {
			t.queued = false
			return id, slices.Clone(t.grants), true
		}
	}
	return "", nil, false
}

// settled reports whether a volume was written or given up; else it waits again.
func (a *Annotations) settled(ctx context.Context, id actors.VolumeID, err error) bool {
	var final *dropError
	if err != nil && !errors.As(err, &final) && ctx.Err() == nil && a.again(id) {
		return false
	}
	if err == nil {
		a.wrote(id)
		a.config.Written()
		return true
	}
	cause := "unavailable"
	if final != nil {
		cause = final.cause
	}
	if cause == noVolume {
		a.forget(id)
	}
	a.config.Logger.Debug("attachment was not annotated", "volume-id", id, "cause", cause, "error", err)
	a.config.Dropped(cause)
	return true
}

// again has a volume wait for another try, unless it had all of them.
func (a *Annotations) again(id actors.VolumeID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tags[id]
	if t == nil {
		return false
	}
	t.tries++
	if t.tries == attempts {
		t.tries = 0
		return false
	}
	a.enqueue(id, t)
	return true
}

// wrote ends a row of failures.
func (a *Annotations) wrote(id actors.VolumeID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.tags[id]; t != nil {
		t.tries = 0
	}
}
