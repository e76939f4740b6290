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

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/rds-csi/rds-csi/actors"
)

// The pace of a Lease. It is renewed every retryPeriod; a leader that could not for renewDeadline gives up.
// It is anybody's only when leaseSlack and the deadline of a write have passed besides.
const (
	renewDeadline = 15 * time.Second
	retryPeriod   = 3 * time.Second
	leaseSlack    = 5 * time.Second
)

// ErrLeaseLost is what Lease.Run returns when another process may lead from now on. The process must end.
var ErrLeaseLost = errors.New("the lease was lost")

// LeaseConfig is what a Lease needs. All but Logger must be set.
type LeaseConfig struct {
	Client kubernetes.Interface
	// Namespace and Name are those of the coordination.k8s.io Lease.
	Namespace, Name string
	// Identity tells this process from every other, also from an earlier one in the same pod.
	Identity string
	// WriteTimeout is the longest that a write to the box may take. The lease outlasts it.
	WriteTimeout time.Duration
	// Seize takes the lease away from whoever holds it, as a person may want, and waits until that one has
	// stopped writing.
	Seize bool
	// Logger tells who leads. nil discards.
	Logger *slog.Logger
}

// A Lease says which of several controllers writes to the box. A leader that is cut off from the API server
// stops writing so long before anybody else may begin that each of its writes has met its deadline by then.
type Lease struct {
	config   LeaseConfig
	duration time.Duration

	mu      sync.Mutex
	renewed time.Time // when the last renewal that succeeded was sent; zero: it was never held
	taken   bool      // it was seen not to be this process's since
	after   time.Time // when whoever it was taken from has stopped writing
}

// NewLease returns a Lease that nobody holds. It is ErrInvalid where the Config is.
func NewLease(config LeaseConfig) (*Lease, error) {
	if config.Client == nil || config.Namespace == "" || config.Name == "" || config.Identity == "" || config.WriteTimeout <= 0 {
		return nil, fmt.Errorf("hold a lease: a client, a namespace, a name, an identity and a write timeout are needed: %w", actors.ErrInvalid)
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Lease{config: config, duration: (renewDeadline + config.WriteTimeout + leaseSlack).Round(time.Second)}, nil
}

// Run waits until the lease is this process's and runs lead while it is. The context of lead ends when ctx
// does, or when the lease is lost; then Run returns ErrLeaseLost. Once lead has returned while the lease is
// held, it is given back, and Run returns what lead did.
func (l *Lease) Run(ctx context.Context, lead func(context.Context) error) error {
	if l.config.Seize {
		if err := l.seize(ctx); err != nil {
			return err
		}
	}
	// The lease is kept while lead drains, which is longer than ctx lasts.
	held, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	defer context.AfterFunc(ctx, func() {
		if !l.held() {
			release() // nothing to drain
		}
	})()
	result := make(chan ending, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name: l.config.Name, Lock: l.lock(),
		LeaseDuration: l.duration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(elected context.Context) {
				leading, end := context.WithCancel(elected)
				defer context.AfterFunc(ctx, end)()
				defer end()
				var err error
				if l.others(leading) {
					err = lead(leading)
				}
				// Before release, which ends both: whether the elector gave up cannot be told from held
				// later, since the elector may still be about to return.
				lost := elected.Err() != nil && held.Err() == nil
				release()
				result <- ending{lost: lost, err: err}
			},
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				l.config.Logger.Info("a controller leads", "leader", identity, "self", l.config.Identity)
			},
		},
	})
	if err != nil {
		return fmt.Errorf("hold the lease %s: %w: %w", l.config.Name, err, actors.ErrInvalid)
	}
	elector.Run(held)
	if !l.held() {
		return nil
	}
	end := <-result
	if end.lost {
		l.config.Logger.Error("the lease was lost", "lease", l.config.Name, "error", end.err)
		return fmt.Errorf("lease %s: %w", l.config.Name, ErrLeaseLost)
	}
	l.giveBack(context.WithoutCancel(ctx))
	return end.err
}

// An ending is how leading ended.
type ending struct {
	lost bool // the elector gave up
	err  error
}

// Leading reports whether the lease is this process's.
func (l *Lease) Leading() bool { return l.left() > 0 }

// MayWrite is ErrUnavailable unless a write that begins now meets its deadline before another process may
// lead.
func (l *Lease) MayWrite() error {
	if l.left() < l.config.WriteTimeout || l.waits() > 0 {
		return fmt.Errorf("the lease %s is not held for long enough to write: %w", l.config.Name, actors.ErrUnavailable)
	}
	return nil
}

func (l *Lease) held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.renewed.IsZero()
}

// left returns for how long nobody else can hold the lease. It counts from when the last renewal was sent:
// others count from when they see it. A machine that slept may notice by one of its clocks only.
func (l *Lease) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.renewed.IsZero() || l.taken {
		return 0
	}
	now := time.Now()
	return l.duration - max(now.Sub(l.renewed), now.Round(0).Sub(l.renewed.Round(0)))
}

// giveBack lets another process lead at once. Where that fails, it waits until the lease has run out.
func (l *Lease) giveBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	lock := l.lock()
	record, _, err := lock.Get(ctx)
	if err == nil && record.HolderIdentity == l.config.Identity {
		record.HolderIdentity, record.LeaseDurationSeconds = "", 1
		err = lock.Update(ctx, *record)
	}
	if err != nil {
		l.config.Logger.Warn("the lease could not be given back and runs out by itself", "lease", l.config.Name, "error", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed = time.Time{}
}

func (l *Lease) lock() *timedLock {
	return &timedLock{lease: l, LeaseLock: &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: l.config.Namespace, Name: l.config.Name},
		Client:     l.config.Client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: l.config.Identity},
	}}
}

// A timedLock notes when each renewal was sent, and when the Lease is not this process's any more.
type timedLock struct {
	*resourcelock.LeaseLock
	lease *Lease
}

// Get implements resourcelock.Interface. Where a person deleted or changed the Lease, another process may have
// it before this one's has run out, and hand it on: this one begins no write until it has renewed.
func (t *timedLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := t.LeaseLock.Get(ctx)
	if err == nil && record.HolderIdentity != t.Identity() {
		t.lease.mu.Lock()
		defer t.lease.mu.Unlock()
		t.lease.taken = true
	}
	return record, raw, err
}

// Create implements resourcelock.Interface.
func (t *timedLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return t.timed(func() error { return t.LeaseLock.Create(ctx, record) })
}

// Update implements resourcelock.Interface.
func (t *timedLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return t.timed(func() error { return t.LeaseLock.Update(ctx, record) })
}

func (t *timedLock) timed(renew func() error) error {
	sent := time.Now()
	if err := renew(); err != nil {
		return err
	}
	t.lease.mu.Lock()
	defer t.lease.mu.Unlock()
	t.lease.renewed, t.lease.taken = sent, false
	return nil
}
