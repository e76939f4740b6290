// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"slices"
	"time"
)

// renew takes a session out of its lane on which the box refused a command for a lack of rights, so that
// another is made in its place: a session may keep the rights that its account had when it logged in, and
// what a person has mended since shows only on a new one. What is under way on the old one goes on; it is
// closed when its last place is given back.
//
// A session that is not older than the longest wait between attempts to connect is kept, so that a box
// which goes on refusing is not worn out.
func (p *sessionPool) renew(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(m.since) < p.cfg.MaxBackoff {
		return
	}
	for _, l := range p.lanes {
		if i := slices.Index(l.members, m); i >= 0 {
			l.members = slices.Delete(l.members, i, i+1)
			m.leaving = true
			l.change()
		}
	}
}

// release takes back a place on a session, and lets go of one that is to be renewed when it was the last.
// p.mu must be held.
func (p *sessionPool) release(m *member) {
	if m.busy--; m.leaving && m.busy == 0 {
		close(m.leftc)
	}
}
