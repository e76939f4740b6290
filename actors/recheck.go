// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"slices"
	"time"
)

// recheckGap is the least time between two comparisons: each lists the box's volumes.
const recheckGap = 5 * time.Second

// Recheck asks that the grants be compared with the VolumeAttachments, as when one has disappeared. It
// does not wait.
func (s *Supervisor) Recheck() {
	select {
	case s.recheck <- struct{}{}:
	default: // one is owed already
	}
}

// keepRechecked compares whenever asked, and every so often, until ctx is done.
func (s *Supervisor) keepRechecked(ctx context.Context) {
	regular := time.NewTicker(s.cfg.Recheck)
	defer regular.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.recheck:
		case <-regular.C:
		}
		if ctx.Err() != nil {
			return // what else there is to do is the next process's
		}
		if err := s.suspectStale(ctx); err != nil {
			s.cfg.Logger.Warn("grants could not be compared with VolumeAttachments, nothing is cleared", "error", err)
		}
		gap := time.NewTimer(recheckGap)
		select {
		case <-ctx.Done():
			gap.Stop()
			return
		case <-gap.C:
		}
	}
}

// A leftover is a grant for which no VolumeAttachment is to be seen.
type leftover struct {
	volume VolumeID
	nodes  []NodeID
}

// suspectStale tells the actors of volumes with grants that nobody seems to want. Each has that
// confirmed by a live read before it revokes anything. More than a few at once are likelier a fault of
// what was read than of so many nodes, and wait for a person.
func (s *Supervisor) suspectStale(ctx context.Context) error {
	rows, err := s.List(ctx)
	if err != nil {
		return err
	}
	// After the rows: whoever is granted had a VolumeAttachment by then.
	wanted, err := s.cfg.Orchestrator.Wanted()
	if err != nil {
		return err
	}
	found, n := leftovers(rows, wanted)
	frozen := s.frozen(ctx)
	if n > max(s.cfg.StaleLimit, 0) || (n > 0 && frozen != nil) {
		if s.staleHeld.Swap(int64(n)) != int64(n) {
			s.cfg.Logger.Error("grants without a VolumeAttachment are left alone, since they are many or revokes are frozen: compare them with `rds-csi volumes` and release what is really left over",
				"grants", n, "limit", max(s.cfg.StaleLimit, 0), "frozen", frozen != nil, "first", found[0])
		}
		s.cfg.Hooks.held()
		return nil
	}
	s.staleHeld.Store(0)
	for _, f := range found {
		s.tell(f.volume, func(n *news) { n.suspects = &Suspected{Nodes: f.nodes} })
	}
	return nil
}

// frozen returns why no grant may be revoked by itself now, or nil. It tells when that has changed.
func (s *Supervisor) frozen(ctx context.Context) error {
	if s.cfg.Frozen == nil {
		return nil
	}
	err := s.cfg.Frozen(ctx)
	switch thawed := s.thawed.Swap(err == nil); {
	case err != nil && thawed:
		s.cfg.Logger.Warn("automatic revokes are frozen", "reason", err)
	case err == nil && !thawed:
		s.cfg.Logger.Info("automatic revokes go on")
	}
	return err
}

// leftovers returns the grants that are not wanted, and how many they are.
func leftovers(rows []Volume, wanted map[VolumeID][]NodeID) (found []leftover, n int) {
	for _, v := range rows {
		f := leftover{volume: v.ID}
		for _, g := range v.Ledger.Grants {
			if !slices.Contains(wanted[v.ID], g.Node) {
				f.nodes = append(f.nodes, g.Node)
			}
		}
		if n += len(f.nodes); len(f.nodes) > 0 {
			found = append(found, f)
		}
	}
	return found, n
}
