// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/rds-csi/rds-csi/actors"
)

// The defaults of Config.
const (
	// DefaultTimeout bounds Admit and Migration.
	DefaultTimeout = 2 * time.Second
	// DefaultRecheck is how often it is asked whether KubeVirt is there.
	DefaultRecheck = 30 * time.Second
)

// Claims relates volumes to the PersistentVolumeClaims by which KubeVirt knows them.
type Claims interface {
	// Find returns the claim of a volume. It is actors.ErrNotFound where nothing claims it, and
	// actors.ErrUnavailable where that cannot be told.
	Find(ctx context.Context, id actors.VolumeID) (*corev1.ObjectReference, error)
	// Volumes returns the volumes of this driver that a claim is bound to, at once and as far as is known.
	Volumes(namespace, claim string) []actors.VolumeID
}

// Config is what Migrations need. Client, Dynamic and Claims must be set.
type Config struct {
	// Client reads pods, and what the API server serves.
	Client kubernetes.Interface
	// Dynamic reads KubeVirt's objects.
	Dynamic dynamic.Interface
	Claims  Claims
	// Observe is told how the latest migration of a volume's VM stands: all there are when KubeVirt is
	// found, and each change, one at a time, in order. It must not wait. What it is told comes from caches,
	// and may be old or come twice. nil is not told.
	Observe func(actors.VolumeID, actors.Migration)
	// Timeout bounds Admit and Migration, and each look for KubeVirt. 0 is DefaultTimeout.
	Timeout time.Duration
	// Recheck is how often Run asks whether KubeVirt is there. 0 is DefaultRecheck.
	Recheck time.Duration
	// Logger tells of KubeVirt's coming and going, and what cannot be read. nil discards.
	Logger *slog.Logger
}

// Migrations are the live migrations of a cluster's VMs.
type Migrations struct {
	client  kubernetes.Interface
	dynamic dynamic.Interface
	claims  Claims
	observe func(actors.VolumeID, actors.Migration)
	timeout time.Duration
	recheck time.Duration
	logger  *slog.Logger

	watch   atomic.Pointer[watch] // nil: KubeVirt is not there, or that is not known yet
	decided atomic.Bool           // it is known whether KubeVirt is there
}

// New returns the migrations of a cluster. It is ErrInvalid where the Config is.
func New(config Config) (*Migrations, error) {
	switch {
	case config.Client == nil, config.Dynamic == nil, config.Claims == nil:
		return nil, fmt.Errorf("watch over migrations: two clients and the claims are needed: %w", actors.ErrInvalid)
	case config.Timeout < 0, config.Recheck < 0:
		return nil, fmt.Errorf("watch over migrations: a timeout of %v or an interval of %v is negative: %w",
			config.Timeout, config.Recheck, actors.ErrInvalid)
	}
	m := &Migrations{
		client: config.Client, dynamic: config.Dynamic, claims: config.Claims, observe: config.Observe,
		timeout: config.Timeout, recheck: config.Recheck, logger: config.Logger,
	}
	if m.observe == nil {
		m.observe = func(actors.VolumeID, actors.Migration) {}
	}
	if m.timeout == 0 {
		m.timeout = DefaultTimeout
	}
	if m.recheck == 0 {
		m.recheck = DefaultRecheck
	}
	if m.logger == nil {
		m.logger = slog.New(slog.DiscardHandler)
	}
	return m, nil
}

// Synced reports whether it is known if KubeVirt is there, and, where it is, whether everything of it that
// there was then has been seen.
func (m *Migrations) Synced() bool {
	w := m.watch.Load()
	return m.decided.Load() && (w == nil || w.synced())
}

// Run watches KubeVirt while it is there, until ctx ends.
func (m *Migrations) Run(ctx context.Context) error {
	stop := func() {}
	defer func() { stop() }()
	var missing <-chan struct{}
	var doubt error // what is logged already
	for {
		here, err := m.present(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if doubt == nil {
				m.logger.Warn("it cannot be told whether KubeVirt is there", "error", err)
			}
			doubt = err
		case here && m.watch.Load() == nil:
			w, err := newWatch(m)
			if err != nil {
				return err
			}
			stop, missing = m.start(ctx, w), w.missing
		case !here && m.watch.Load() != nil:
			m.logger.Info("KubeVirt is gone")
			stop()
			stop, missing = func() {}, nil
		}
		if err == nil {
			doubt = nil
			m.decided.Store(true)
		}
		if !pause(ctx, m.recheck, missing) {
			return nil
		}
	}
}

// start runs a watch, and returns what ends it and waits for that.
func (m *Migrations) start(ctx context.Context, w *watch) (stop func()) {
	m.logger.Info("KubeVirt is there")
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{}) // closed when the watch has ended
	go func() {
		defer close(done)
		w.run(ctx)
	}()
	m.watch.Store(w)
	return func() {
		m.watch.Store(nil)
		cancel()
		<-done
	}
}

// pause waits for d, or until something is missing, which may be told again and again; it is false when
// ctx ends.
func pause(ctx context.Context, d time.Duration, missing <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-missing:
	case <-timer.C:
		return true
	}
	// Nothing is asked more often than once a second.
	timer.Reset(min(d, time.Second))
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// claim returns a volume's claim.
func (m *Migrations) claim(ctx context.Context, id actors.VolumeID) (claim, error) {
	ref, err := m.claims.Find(ctx, id)
	switch {
	case errors.Is(err, actors.ErrNotFound):
		return claim{}, err
	case errors.Is(err, actors.ErrUnavailable):
		return claim{}, fmt.Errorf("find the claim of %s: %w", id, err)
	case err != nil:
		return claim{}, fmt.Errorf("find the claim of %s: %w: %w", id, err, actors.ErrUnavailable)
	}
	return claim{ref.Namespace, ref.Name}, nil
}

// A claim names a PersistentVolumeClaim.
type claim struct{ namespace, name string }

func (c claim) String() string { return c.namespace + "/" + c.name }
