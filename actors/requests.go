// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Publish grants the volume to the node and returns the volume, with the node in its ledger. When
// ctx is done first, the grant goes on and a retry joins it.
//
// The policy matters where another node has a shared volume already.
func (s *Supervisor) Publish(ctx context.Context, id VolumeID, node NodeID, access Access, policy Policy) (Volume, error) {
	if err := checkIDs(id, node); err != nil {
		return Volume{}, err
	}
	if access != AccessSingle && access != AccessReader && access != AccessShared {
		return Volume{}, fmt.Errorf("access %v cannot be granted: %w", access, ErrInvalid)
	}
	attached, err := s.cfg.Nodes.Check(ctx, id, node)
	if err != nil {
		return Volume{}, fmt.Errorf("publish volume %s to node %s: %w", id, node, err)
	}
	return s.ask(ctx, id, "volume.publish", func(w Waiter) Event {
		return Publish{Waiter: w, Node: node, Access: access, Policy: policy, Attached: attached}
	}, nodeAttr(node))
}

// Unpublish revokes the node's grant, or every grant of the volume where node is empty. It returns
// nil only when no write of the node reaches the volume any more, as far as the volume's fencing
// mode promises that.
func (s *Supervisor) Unpublish(ctx context.Context, id VolumeID, node NodeID) error {
	lost := ""
	if node == "" {
		if err := id.Check(); err != nil {
			return err
		}
	} else {
		if err := checkIDs(id, node); err != nil {
			return err
		}
		// A live read, before the request may wait: what a detach must assume of its node.
		lost = s.cfg.Nodes.Lost(ctx, id, node)
	}
	_, err := s.ask(ctx, id, "volume.unpublish", func(w Waiter) Event {
		return Unpublish{Waiter: w, Node: node, Lost: lost}
	}, nodeAttr(node), attribute.String("rds_csi.node.lost", lost))
	return err
}

// Fence revokes the node's grant as that of a node that may be writing, whatever Nodes says: why is what
// a person knows. It returns the volume afterwards. It fences as far as the volume's fencing mode does.
func (s *Supervisor) Fence(ctx context.Context, id VolumeID, node NodeID, why string) (Volume, error) {
	if err := checkIDs(id, node); err != nil {
		return Volume{}, err
	}
	if why == "" {
		return Volume{}, fmt.Errorf("fence node %s without a reason: %w", node, ErrInvalid)
	}
	return s.ask(ctx, id, "volume.fence", func(w Waiter) Event {
		return Unpublish{Waiter: w, Node: node, Lost: why}
	}, nodeAttr(node), attribute.String("rds_csi.node.lost", why))
}

// Release revokes the node's grant if it is left over, by a live read as of Orchestrator.Stale. It
// returns the volume afterwards.
func (s *Supervisor) Release(ctx context.Context, id VolumeID, node NodeID) (Volume, error) {
	if err := checkIDs(id, node); err != nil {
		return Volume{}, err
	}
	if s.cfg.Orchestrator == nil {
		return Volume{}, fmt.Errorf("release volume %s from node %s: nobody can tell whether it is left over: %w", id, node, ErrUnavailable)
	}
	lost, err := s.cfg.Orchestrator.Stale(ctx, id, node)
	if err != nil {
		return Volume{}, fmt.Errorf("release volume %s from node %s: %w", id, node, untold(err))
	}
	return s.ask(ctx, id, "volume.release", func(w Waiter) Event {
		return Unpublish{Waiter: w, Node: node, Lost: lost, Stale: true}
	}, nodeAttr(node), attribute.String("rds_csi.node.lost", lost))
}

// TakeOver makes a volume this cluster's that is another cluster's, or the older driver's, and returns it
// afterwards. from and gen are those of the ledger that is replaced, and empty where there is none: it is
// ErrPrecondition where the row shows another one meanwhile, where this cluster has no use for the volume,
// and, without force, where that ledger grants it to nodes. One that is this cluster's already stays as
// it is.
func (s *Supervisor) TakeOver(ctx context.Context, id VolumeID, from string, gen uint64, force bool) (Volume, error) {
	if err := id.Check(); err != nil {
		return Volume{}, err
	}
	if s.cfg.Orchestrator == nil {
		return Volume{}, fmt.Errorf("adopt volume %s: nobody can tell whether it is this cluster's: %w", id, ErrUnavailable)
	}
	return s.ask(ctx, id, "volume.take-over", func(w Waiter) Event {
		return TakeOver{Waiter: w, From: from, Gen: gen, Force: force}
	}, attribute.String("rds_csi.from", from), attribute.Bool("rds_csi.force", force))
}

// Exclusive does work on the volume's disk while nothing else is done to the volume, and returns
// the volume as the box shows it afterwards.
func (s *Supervisor) Exclusive(ctx context.Context, id VolumeID, op Operation) (Volume, error) {
	if err := id.Check(); err != nil {
		return Volume{}, err
	}
	if op.Run == nil || op.Kind == "" {
		return Volume{}, fmt.Errorf("an operation without a kind or without work: %w", ErrInvalid)
	}
	return s.ask(ctx, id, "volume.exclusive", func(w Waiter) Event {
		return Exclusive{Waiter: w, Op: op}
	}, attribute.String("rds_csi.operation", string(op.Kind)))
}

// Get returns the volume as the box shows it now. It is no error if the box has no such volume.
func (s *Supervisor) Get(ctx context.Context, id VolumeID) (Volume, error) {
	if err := id.Check(); err != nil {
		return Volume{}, err
	}
	return s.cfg.Box.Read(ctx, id)
}

// List returns this cluster's volumes, sorted by ID. Their ledgers say to whom each is granted:
// the box's, or the actor's where that is newer.
func (s *Supervisor) List(ctx context.Context) ([]Volume, error) {
	rows, err := s.cfg.Box.List(ctx)
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(v Volume) bool { return !v.Ours || v.Ledger.Cluster != s.cfg.Cluster })
	for i, v := range rows {
		if snap := s.snapshot(v.ID); snap != nil && snap.volume.Ours && snap.volume.Ledger.Gen > v.Ledger.Gen {
			rows[i].Ledger = snap.volume.Ledger
		}
	}
	slices.SortFunc(rows, func(a, b Volume) int { return cmp.Compare(a.ID, b.ID) })
	return rows, nil
}

func (s *Supervisor) snapshot(id VolumeID) *snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.byID[id]; a != nil {
		return a.snap.Load()
	}
	return nil
}

// ask posts a request and waits for its answer, or for the end of ctx.
func (s *Supervisor) ask(ctx context.Context, id VolumeID, name string, ev func(Waiter) Event, attrs ...attribute.KeyValue) (v Volume, err error) {
	ctx, span := s.cfg.Tracer.Start(ctx, name, trace.WithAttributes(append(attrs, volumeAttr(id))...))
	defer func() { end(span, err) }()

	msg := message{waiter: Waiter(s.tickets.Add(1)), reply: make(chan Reply, 1), span: span, posted: time.Now()}
	msg.ev = ev(msg.waiter)
	if err := s.post(id, msg); err != nil {
		return Volume{}, err
	}
	select {
	case r := <-msg.reply:
		return r.Volume, r.Err
	case <-ctx.Done():
		return Volume{}, fmt.Errorf("the operation on volume %s goes on, retry to learn its outcome: %w", id, ctx.Err())
	}
}

func checkIDs(id VolumeID, node NodeID) error {
	if err := id.Check(); err != nil {
		return err
	}
	return node.Check()
}

func nodeAttr(node NodeID) attribute.KeyValue {
	return attribute.String("rds_csi.node.id", string(node))
}
