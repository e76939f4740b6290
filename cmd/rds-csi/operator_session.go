// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/k8s"
	"github.com/rds-csi/rds-csi/rds"
)

// How long a command waits for the caches of Kubernetes' objects, and for an outcome that it cannot have at
// once.
const (
	cacheWait   = 30 * time.Second
	outcomeWait = 2 * time.Minute
)

// A session is a command that may change one volume. It decides by the actors, like a controller, and
// writes like one: while it holds the lease.
type session struct {
	*person
	flags   *operatorFlags
	client  kubernetes.Interface // nil: without Kubernetes
	cluster string
	box     *rds.Box
	lease   *k8s.Lease       // nil: nobody else may run, which a person has to see to
	claims  *k8s.Claims      // nil: without Kubernetes
	known   *k8s.Attachments // likewise
	events  *k8s.Events      // likewise
	logger  *slog.Logger

	stop  context.CancelFunc
	tasks sync.WaitGroup
}

// open prepares a session. It reads from the API server, and from the box when it is asked to.
func (p *person) open(ctx context.Context, f *operatorFlags) (_ *session, err error) {
	s := &session{person: p, flags: f, logger: slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if s.client, s.cluster, err = p.identify(ctx, f); err != nil {
		return nil, fmt.Errorf("%w (without the API server, where no controller runs: --kubernetes=false and --cluster-id)", err)
	}
	if s.client != nil {
		if err := s.inKubernetes(); err != nil {
			return nil, err
		}
	}
	var may func() error
	if s.lease != nil {
		may = s.lease.MayWrite
	}
	cfg, err := p.settings(f, s.cluster, may)
	if err != nil {
		return nil, err
	}
	if s.box, err = rds.New(cfg); err != nil {
		return nil, usageError{err}
	}
	ctx, s.stop = context.WithCancel(ctx)
	if s.client == nil {
		return s, nil
	}
	for _, task := range []func(context.Context) error{s.claims.Run, s.known.Run, s.events.Run} {
		s.tasks.Go(func() { _ = task(ctx) }) // ends with ctx, and never fails
	}
	if err := s.awaitCaches(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) inKubernetes() error {
	f := s.flags
	namespace, err := f.leaseIn()
	if err != nil {
		return err
	}
	if namespace != "" {
		host, err := s.hostname()
		if err != nil {
			return fmt.Errorf("name this command among those that want the lease: %w", err)
		}
		if s.lease, err = k8s.NewLease(k8s.LeaseConfig{
			Client: s.client, Namespace: namespace, Name: f.driverName, Identity: host + "_by-hand_" + rand.Text(),
			WriteTimeout: f.commandTimeout, Seize: true, Logger: s.logger,
		}); err != nil {
			return err
		}
	}
	if s.claims, err = k8s.NewClaims(k8s.ClaimsConfig{Client: s.client, Driver: f.driverName, Logger: s.logger}); err != nil {
		return err
	}
	if s.events, err = k8s.NewEvents(k8s.EventsConfig{Client: s.client, Claims: s.claims, Driver: f.driverName, Logger: s.logger}); err != nil {
		return err
	}
	s.known, err = k8s.NewAttachments(k8s.AttachmentsConfig{
		Client: s.client, Claims: s.claims, Driver: f.driverName, TimeoutKey: csi.TimeoutKey, Logger: s.logger,
	})
	return err
}

// close ends whatever runs. Events that were announced are posted.
func (s *session) close() {
	s.stop()
	s.tasks.Wait()
	s.box.Close()
}

// awaitCaches waits until the caches are filled.
func (s *session) awaitCaches(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cacheWait)
	defer cancel()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for !s.known.Synced() {
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("nothing was done: VolumeAttachments and PersistentVolumes could not be read in %v: %w", cacheWait, context.Cause(ctx))
		}
	}
	return nil
}

// entry returns a volume's row as it is now.
func (s *session) entry(ctx context.Context, id actors.VolumeID) (rds.Entry, error) {
	entries, missing, err := s.box.Inventory(ctx)
	if err != nil {
		return rds.Entry{}, err
	}
	for _, e := range entries {
		switch {
		case e.Volume.ID != id:
		case e.Damage != nil:
			return e, fmt.Errorf("the row of volume %s is left alone: %w", id, e.Damage)
		default:
			return e, nil
		}
	}
	if missing != nil {
		return rds.Entry{}, missing
	}
	return rds.Entry{}, fmt.Errorf("the box has no volume %s", id)
}

// leaderPlan says what becomes of the controller that leads. It refuses where that would end this command.
func (s *session) leaderPlan(ctx context.Context) (string, error) {
	if s.lease == nil {
		return "Make sure that no controller runs: nothing keeps it from writing at the same time.", nil
	}
	holder, err := s.lease.Holder(ctx)
	if err != nil {
		return "", err
	}
	if holder == "" {
		return "No controller leads. None will until this is done.", nil
	}
	host, err := s.hostname()
	if err != nil {
		return "", fmt.Errorf("tell whether this pod leads: %w", err)
	}
	if strings.HasPrefix(holder, host+"_") {
		return "", fmt.Errorf("nothing was done: pod %s leads, and ends when the lease is taken from it, this command with it: run it in another pod of the controller, or scale that to two", host)
	}
	return fmt.Sprintf("The lease is taken from %s, which ends and starts anew. For about a minute nothing else is attached or detached; VMs go on.", holder), nil
}

// decide has the actors do something while nobody else writes.
func (s *session) decide(ctx context.Context, do func(context.Context, *actors.Supervisor) (actors.Volume, error)) (v actors.Volume, err error) {
	sup, err := s.supervisor()
	if err != nil {
		return v, err
	}
	lead := func(ctx context.Context) error {
		ctx, end := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- sup.Run(ctx) }()
		var failed error
		v, failed = s.insist(ctx, func(ctx context.Context) (actors.Volume, error) { return do(ctx, sup) })
		end()
		return errors.Join(failed, <-ended)
	}
	if s.lease == nil {
		return v, lead(ctx)
	}
	s.warn("Taking the lease; where a controller leads, it takes half a minute until that has stopped ...")
	return v, s.lease.Run(ctx, lead)
}

func (s *session) supervisor() (*actors.Supervisor, error) {
	cfg := actors.Config{
		Box: s.box, Cluster: s.cluster, CommandTimeout: s.flags.commandTimeout, Quiet: s.flags.commandTimeout,
		Logger: s.logger, OnDemand: true,
	}
	var err error
	if s.client == nil {
		cfg.Nodes, err = actors.NewStaticNodes()
	} else {
		cfg.Nodes, err = k8s.NewNodes(k8s.NodesConfig{Client: s.client, Driver: s.flags.driverName})
		cfg.Orchestrator, cfg.Announcer = onHand{s.known}, s.events
	}
	if err != nil {
		return nil, err
	}
	return actors.New(cfg)
}

// insist repeats a request while its outcome is not known or cannot be had yet, and returns the last answer.
func (s *session) insist(ctx context.Context, request func(context.Context) (actors.Volume, error)) (actors.Volume, error) {
	wait, cancel := context.WithTimeout(ctx, outcomeWait)
	defer cancel()
	said, pause := "", 50*time.Millisecond // at first the actors may be about to start
	for {
		v, err := request(wait)
		pending := errors.Is(err, actors.ErrUnresolved) || errors.Is(err, actors.ErrUnavailable) || errors.Is(err, actors.ErrBusy)
		if !pending {
			return v, err
		}
		if text := err.Error(); text != said && pause == time.Second {
			s.warn("Not yet, trying again: %s", text)
			said = text
		}
		again := time.NewTimer(pause)
		pause = time.Second
		select {
		case <-again.C:
		case <-wait.Done():
			again.Stop()
			return v, fmt.Errorf("whether it was done is not known, look with `rds-csi volumes`, and say it again: %w", err)
		}
	}
}

// onHand is what the actors are told in a session. It grants nothing, and leaves the outcomes of migrations
// to the controller: they are pending in the ledger until that has asked KubeVirt.
type onHand struct{ *k8s.Attachments }

var _ actors.Orchestrator = onHand{}

// Admit implements actors.Orchestrator.
func (onHand) Admit(context.Context, actors.VolumeID, actors.NodeID, actors.NodeID, actors.Policy) error {
	return fmt.Errorf("grants are the controller's: %w", actors.ErrUnavailable)
}

// Migration implements actors.Orchestrator.
func (onHand) Migration(context.Context, actors.VolumeID, actors.NodeID, actors.NodeID) (actors.Migration, error) {
	return actors.Migration{}, fmt.Errorf("the controller asks KubeVirt: %w", actors.ErrUnavailable)
}
