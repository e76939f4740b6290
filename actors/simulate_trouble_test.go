// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"fmt"
	"time"
)

// befall does something to the driver, the box, a node or the cluster.
func (s *simulation) befall() {
	r := s.rnd
	pause := time.Duration(r.Int64N(int64(3*time.Second))) + 1
	kinds := 8
	if s.cluster.asked {
		kinds = 16
	}
	switch k := r.IntN(kinds); k {
	case 0, 1:
		s.crash()
		time.Sleep(pause)
		s.start()
	case 2:
		s.stop()
		time.Sleep(pause)
		s.start()
	case 3:
		s.box.reboot(time.Duration(r.Int64N(int64(5*time.Second))), pause)
		time.Sleep(pause + pause/3)
		s.process().sup.Reconcile()
	case 4:
		s.box.Away(time.Now().Add(pause * 5))
	case 5, 6:
		s.box.mu.Lock()
		s.cluster.lost[playNodes[r.IntN(len(playNodes))]] = []string{"", nodeGone, "node is not ready"}[(k-5)*(1+r.IntN(2))]
		s.box.mu.Unlock()
	case 7:
		s.process().sup.Reconcile()
	default:
		s.disturb(k-8, pause)
	}
}

// disturb does something to the cluster.
func (s *simulation) disturb(k int, pause time.Duration) {
	c, r := s.cluster, s.rnd
	if k == 7 {
		s.care()
		return
	}
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	switch k {
	case 0, 1:
		for range 1 + r.IntN(5) {
			c.drop(s.box.vols[s.box.ids[r.IntN(len(s.box.ids))]], playNodes[r.IntN(len(playNodes))], pause*7)
		}
	case 2:
		c.restore(pause*10, pause*7)
	case 3:
		c.away = time.Now().Add(pause * time.Duration(1+r.IntN(40)))
	case 4:
		c.lag = pause * time.Duration(r.IntN(5))
	case 5:
		c.unmapped = time.Now().Add(pause * 4)
	case 6:
		c.frozen = !c.frozen
	}
}

// care is what a person does now and then: release what is left over and waits for that, and take over
// what another cluster has left.
func (s *simulation) care() {
	p := s.process()
	if p == nil || !s.cluster.asked {
		return
	}
	defer s.byHand()()
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), byPerson{}, true), 10*time.Second)
	defer cancel()
	for _, id := range s.box.ids {
		s.box.mu.Lock()
		vol := s.box.vols[id]
		row, left := vol.row, []NodeID(nil)
		for _, g := range vol.newest().Grants {
			if !vol.attachment(g.Node).wanted {
				left = append(left, g.Node)
			}
		}
		s.box.mu.Unlock()
		if p.sup.Stats().StaleHeld > 0 {
			for _, node := range left {
				_, _ = p.sup.Release(ctx, id, node) // what is refused is looked at the next time
			}
		}
		if row.Exists && row.Ledger.Cluster != testCluster {
			s.takeOver(ctx, p, vol, row)
		}
	}
}

// byHand has nobody served until what it returns is called: a command of a person has the lease while it decides.
func (s *simulation) byHand() (over func()) {
	s.box.mu.Lock()
	s.hand = true
	for s.asks > 0 {
		s.box.mu.Unlock()
		time.Sleep(100*time.Millisecond + 1)
		s.box.mu.Lock()
	}
	s.box.mu.Unlock()
	return func() {
		s.box.mu.Lock()
		defer s.box.mu.Unlock()
		s.hand = false
	}
}

func (s *simulation) takeOver(ctx context.Context, p *simProcess, vol *simVolume, row Volume) {
	v, err := p.sup.TakeOver(ctx, vol.id, row.Ledger.Cluster, row.Ledger.Gen, len(row.Ledger.Grants) > 0)
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	if s.box.note(vol.id, "is taken over: %t", err == nil); err == nil && v.Ledger.Cluster != testCluster {
		s.box.must(vol, fmt.Errorf("P7: taken over is %+v", v))
	}
}
