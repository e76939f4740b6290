// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Config is what a Supervisor needs. Box, Nodes, Cluster and CommandTimeout must be given.
type Config struct {
	Box   Box
	Nodes Nodes
	// Cluster is the 12 hex digits that this cluster's ledgers carry.
	Cluster string
	// CommandTimeout is the box's deadline for one command. A write that was given up is taken to be
	// able to land for as long again.
	CommandTimeout time.Duration
	// Quiet is how long after the start a write of an earlier process may still land; until then
	// nothing is granted, made or deleted, and nothing is taken to be gone. Zero: there was no earlier process. A driver that
	// may have crashed passes CommandTimeout.
	Quiet time.Duration
	// BounceGap is the least time between two bounces of one volume's export. Zero: 30 s.
	BounceGap time.Duration
	// Fresh is how long a row that was read may be decided upon. Zero: 30 s.
	Fresh time.Duration
	// Linger is how long an idle actor stays. Zero: 10 minutes.
	Linger time.Duration

	// Orchestrator is asked before a second node is granted, when a migration ends, and about grants that
	// nobody wants any more. Nil: the ledger alone decides.
	Orchestrator Orchestrator
	// Recheck is how often grants are compared with what is wanted, besides when Recheck is called. Zero:
	// a minute.
	Recheck time.Duration
	// StaleLimit is how many grants may be left over at once and still be revoked without a person. Zero:
	// 3. Negative: none is ever revoked by itself.
	StaleLimit int
	// Frozen is asked before grants are revoked by themselves. An error says why none may be now, or that
	// this cannot be told. It returns within a few seconds. Nil: they may.
	Frozen func(context.Context) error
	// OnDemand is for a process that serves a person's request and ends: it attends to no volume but
	// those that it is asked about, and revokes nothing by itself.
	OnDemand bool

	// Inherited is called once, when the volumes were first listed, with what their rows show that an
	// earlier process announced or died before it did: how a migration ended, or that it began. It is no
	// announcement: whoever gets it tells it to those alone of whom it can see that they were not told.
	// Nodes that the row shows no more are empty, an outcome's reason too; its Duration is the longest that
	// it may have taken, and At is when it was found. Inherited must not block. Nil: nobody looks.
	Inherited func([]Announcement)

	Announcer Announcer    // nil: nobody is told
	Logger    *slog.Logger // nil: discarded
	Tracer    trace.Tracer // nil: no traces
	Hooks     Hooks        // zero: nobody counts
}

// Hooks are called as things happen, from many goroutines. Nil ones are left out.
type Hooks struct {
	MailboxWait func(time.Duration)    // a request was looked at after this long
	Joined      func(operation string) // a retry joined the request it repeats: publish, unpublish, or an OpKind
	Panicked    func()                 // a volume or an operation panicked
	Held        func()                 // grants that nobody seems to want are left for a person
}

func (h Hooks) panicked() {
	if h.Panicked != nil {
		h.Panicked()
	}
}

func (h Hooks) held() {
	if h.Held != nil {
		h.Held()
	}
}

func (h Hooks) joined(operation string) {
	if h.Joined != nil {
		h.Joined(operation)
	}
}

var errStopping = fmt.Errorf("the driver is stopping: %w", ErrUnavailable)

// A Supervisor owns the actors of all volumes: it starts them when they are asked for, rebuilds
// those that have a task of their own, and ends them when they are idle.
type Supervisor struct {
	cfg  Config
	step func(State, time.Time, Event) (State, []Effect)

	// Set by Run before running.
	rules Rules
	work  context.Context // of effects: not cancelled when Run is asked to stop

	stopping  chan struct{} // closed when Run is asked to stop
	reconcile chan struct{} // latest wins: room for one
	recheck   chan struct{} // likewise
	staleHeld atomic.Int64  // grants that are left over and wait for a person
	thawed    atomic.Bool   // Frozen said so last
	tickets   atomic.Uint64
	actors    sync.WaitGroup

	mu      sync.Mutex
	running bool
	byID    map[VolumeID]*actor
}

// New returns a Supervisor that answers requests while Run runs.
func New(cfg Config) (*Supervisor, error) {
	if cfg.Box == nil || cfg.Nodes == nil {
		return nil, errors.New("a supervisor needs a box and nodes")
	}
	if err := CheckCluster(cfg.Cluster); err != nil {
		return nil, err
	}
	if cfg.CommandTimeout <= 0 {
		return nil, fmt.Errorf("command timeout %v is not positive: %w", cfg.CommandTimeout, ErrInvalid)
	}
	if cfg.Quiet < 0 || cfg.BounceGap < 0 || cfg.Fresh < 0 || cfg.Linger < 0 || cfg.Recheck < 0 {
		return nil, fmt.Errorf("a negative duration: %w", ErrInvalid)
	}
	orDefault(&cfg.BounceGap, 30*time.Second)
	orDefault(&cfg.Fresh, 30*time.Second)
	orDefault(&cfg.Linger, 10*time.Minute)
	orDefault(&cfg.Recheck, time.Minute)
	if cfg.StaleLimit == 0 {
		cfg.StaleLimit = 3
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Tracer == nil {
		cfg.Tracer = noop.NewTracerProvider().Tracer("")
	}
	s := &Supervisor{
		cfg: cfg, step: Step,
		stopping: make(chan struct{}), reconcile: make(chan struct{}, 1), recheck: make(chan struct{}, 1),
		byID: map[VolumeID]*actor{},
	}
	s.thawed.Store(true)
	return s, nil
}

func orDefault(d *time.Duration, def time.Duration) {
	if *d == 0 {
		*d = def
	}
}

// Run serves requests and reconciles the volumes with the box until ctx is done. It returns when
// every actor has ended and nothing is in flight. It is called once.
func (s *Supervisor) Run(ctx context.Context) error {
	s.mu.Lock()
	s.rules = Rules{
		Cluster: s.cfg.Cluster, CommandTimeout: s.cfg.CommandTimeout,
		BounceGap: s.cfg.BounceGap, Fresh: s.cfg.Fresh, Orchestrated: s.cfg.Orchestrator != nil,
	}
	if s.cfg.Quiet > 0 {
		s.rules.Quiet = time.Now().Add(s.cfg.Quiet)
	}
	s.work = context.WithoutCancel(ctx)
	s.running = true
	s.mu.Unlock()

	if !s.cfg.OnDemand {
		s.attend(ctx)
	}
	<-ctx.Done()

	s.mu.Lock()
	s.running = false
	close(s.stopping)
	s.mu.Unlock()
	s.actors.Wait()
	return nil
}

// attend reconciles the volumes with the box, and grants with what is wanted, until ctx is done.
func (s *Supervisor) attend(ctx context.Context) {
	s.Reconcile()
	var tasks sync.WaitGroup
	if s.cfg.Orchestrator != nil {
		tasks.Go(func() { s.keepRechecked(ctx) })
	}
	s.keepReconciled(ctx)
	tasks.Wait()
}

// post hands a message to a volume's actor, which is started if need be. It never waits.
func (s *Supervisor) post(id VolumeID, msg message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.actor(id)
	if a == nil {
		return fmt.Errorf("the driver is starting or stopping: %w", ErrUnavailable)
	}
	select {
	case a.mailbox <- msg:
		return nil
	default:
		return fmt.Errorf("%d requests wait for volume %s, retry later: %w", mailboxSize, id, ErrBusy)
	}
}

// actor returns the volume's actor, starting it if there is none, and nil while Run does not run.
// s.mu is held.
func (s *Supervisor) actor(id VolumeID) *actor {
	if !s.running {
		return nil
	}
	a := s.byID[id]
	if a == nil {
		a = newActor(id, s)
		s.byID[id] = a
		s.actors.Go(a.loop)
	}
	return a
}

// retire takes an idle actor out of the table, unless a message reached it meanwhile.
func (s *Supervisor) retire(a *actor) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(a.mailbox) > 0 || len(a.news.wake) > 0 {
		return false
	}
	delete(s.byID, a.id)
	return true
}

// waited measures how long a message lay in a mailbox.
func (s *Supervisor) waited(msg message) {
	now := time.Now()
	if s.cfg.Hooks.MailboxWait != nil {
		s.cfg.Hooks.MailboxWait(now.Sub(msg.posted))
	}
	ctx := trace.ContextWithSpan(s.work, msg.span)
	_, span := s.cfg.Tracer.Start(ctx, "volume.mailbox", trace.WithTimestamp(msg.posted))
	span.End(trace.WithTimestamp(now))
}
