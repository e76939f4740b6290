// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"fmt"
	"slices"
	"time"
)

// A request is an accepted operation and all who wait for it.
type request struct {
	kind    requestKind
	node    NodeID // of publish and unpublish
	access  Access // of publish
	policy  Policy // of publish
	nqn     string // of publish: under which the node was told to use the volume before
	lost    string // of unpublish
	stale   bool   // of unpublish: nobody wants the volume there
	from    string // of adopting: the cluster whose ledger is to be replaced; empty: there is none
	gen     uint64 // of adopting: that ledger's
	force   bool   // of adopting: even where that ledger grants
	op      Operation
	waiters []Waiter
	since   time.Time // when it was accepted

	admitted NodeID // the holder beside whom the node was admitted
	judged   bool   // KubeVirt was asked about the migration that this ends
}

type requestKind byte

const (
	publishing requestKind = iota
	unpublishing
	exclusive
	adopting
)

// leader is the waiter whose trace the operation's effects belong to; zero where nobody waits.
func (r request) leader() Waiter {
	if len(r.waiters) == 0 {
		return 0
	}
	return r.waiters[0]
}

// same reports whether r asks for what q asks for, so that one may answer for both.
func (r request) same(q request) bool {
	return r.kind == q.kind && r.node == q.node && r.access == q.access && r.op.Kind == q.op.Kind && r.op.Key == q.op.Key &&
		r.from == q.from && r.gen == q.gen && r.force == q.force
}

// about reports whether r and q concern the same attachment, or both the disk, so that their order
// matters: a retry joins the newest of these, if it joins at all.
func (r request) about(q request) bool {
	if r.kind >= exclusive || q.kind >= exclusive {
		return r.kind == q.kind
	}
	return r.node == q.node || r.node == "" || q.node == ""
}

func cloneRequests(rs []request) []request {
	rs = slices.Clone(rs)
	for i := range rs {
		rs[i].waiters = slices.Clone(rs[i].waiters)
	}
	return rs
}

// accept queues a request, or joins it to the one it repeats, or refuses it when too much waits.
func (m *machine) accept(r request) {
	r.since = m.now
	if leader := m.newest(r); leader != nil && leader.same(r) {
		m.join(leader, r)
		return
	}
	if len(m.s.queue) >= maxQueue {
		m.reply(r, m.tooMany(len(m.s.queue)))
		return
	}
	m.s.queue = append(m.s.queue, r)
}

// tooMany says that a request is not accepted since so many wait.
func (m *machine) tooMany(n int) error {
	return fmt.Errorf("%d operations wait for volume %s, retry later: %w", n, m.s.id, ErrBusy)
}

// newest returns the latest accepted request about the same attachment, if there is one. Of those
// that a settlement holds, any that asks for the same will do: nothing is granted in between.
func (m *machine) newest(r request) *request {
	for i := len(m.s.queue) - 1; i >= 0; i-- {
		if m.s.queue[i].about(r) {
			return &m.s.queue[i]
		}
	}
	if m.s.settling == nil {
		return nil
	}
	for i := range m.s.settling.held {
		if m.s.settling.held[i].same(r) {
			return &m.s.settling.held[i]
		}
	}
	return nil
}

func (m *machine) join(leader *request, r request) {
	if len(leader.waiters) >= maxWaiters {
		m.reply(r, fmt.Errorf("%d requests wait for this operation on volume %s, retry later: %w", len(leader.waiters), m.s.id, ErrBusy))
		return
	}
	leader.waiters = append(leader.waiters, r.waiters...)
	if leader.lost == "" {
		leader.lost = r.lost // what was learnt since: the node is lost after all
	}
	if leader.leader() == r.leader() {
		return // until now nobody waited
	}
	m.emit(Joined{Waiter: r.leader(), Leader: leader.leader()})
}

// pop takes the first request off the queue.
func (m *machine) pop() request {
	r := m.s.queue[0]
	m.s.queue = m.s.queue[1:]
	return r
}

// reply answers all who wait for a request.
func (m *machine) reply(r request, err error) {
	var v Volume
	if err == nil {
		v = m.s.vol
		v.Ledger.Grants = slices.Clone(v.Ledger.Grants)
	}
	for _, w := range r.waiters {
		m.emit(Reply{Waiter: w, Volume: v, Err: err})
	}
}

// replyAll answers everything that waits in the queue.
func (m *machine) replyAll(err error) {
	for len(m.s.queue) > 0 {
		m.reply(m.pop(), err)
	}
}
