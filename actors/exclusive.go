// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import "fmt"

// run decides a request for work on the volume's disk.
func (m *machine) run(r request) {
	if m.s.settling != nil {
		m.refuse(fmt.Errorf("%s volume %s: %s, retry later: %w", r.op.Kind, m.s.id, m.doubt(), ErrUnavailable))
		return
	}
	v := m.s.vol
	if v.Exists || r.op.Kind == OpExpand {
		if err := m.s.ours(); err != nil {
			m.refuse(err)
			return
		}
	}
	if n := len(v.Ledger.Grants); r.op.Kind == OpDelete && n > 0 {
		m.refuse(fmt.Errorf("delete volume %s: it is attached to node %s, detach it first: %w", m.s.id, v.Ledger.Grants[n-1].Node, ErrPrecondition))
		return
	}
	m.start(inflightRun, Run{For: r.leader(), Op: r.op})
}

// doneRun takes the result of the first request's work.
func (m *machine) doneRun(ev Done) {
	if ev.Err == nil {
		m.s.readAt = m.now
		m.take(ev.Volume, false)
		m.reply(m.pop(), nil)
		return
	}
	r := m.pop()
	if unknown(ev.Err) {
		m.reply(r, unresolved(ev.Err))
		m.settleLater()
		return
	}
	m.reply(r, ev.Err)
	m.forget()
}
