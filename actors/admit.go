// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"errors"
	"fmt"
)

// admit asks whether a shared volume may be granted to a second node, and reports whether it began
// that. It did not where nobody is to be asked, or was asked already about this node beside this holder.
func (m *machine) admit(r request) bool {
	l := m.s.vol.Ledger
	if !m.s.rules.Orchestrated || r.policy == PolicyAny || r.access != AccessShared || len(l.Grants) != 1 {
		return false
	}
	holder := l.Grants[0].Node
	if r.admitted == holder {
		return false
	}
	m.start(inflightAdmit, Admit{For: r.leader(), Holder: holder, Target: r.node, Policy: r.policy})
	return true
}

// doneAdmit takes the cluster's answer about the first request.
func (m *machine) doneAdmit(err error) {
	r := &m.s.queue[0]
	holder := m.s.vol.Ledger.Grants[0].Node
	if err == nil {
		r.admitted = holder
		return
	}
	if errors.Is(err, ErrPrecondition) {
		m.conflict(r.node, holder)
	}
	m.refuse(fmt.Errorf("volume %s cannot be attached to node %s beside node %s: %w", m.s.id, r.node, holder, untold(err)))
}

// untold gives an answer of the cluster the kind that says it could not be told, unless it is a refusal.
func untold(err error) error {
	if errors.Is(err, ErrPrecondition) || errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%v: %w", err, ErrUnavailable) //nolint:errorlint // of one kind only
}
