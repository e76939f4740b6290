// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"fmt"
	"strings"
	"time"
)

// ruleSlack is for questions and commands beside the time that is promised for an outcome: each takes some
// seconds at most.
const ruleSlack = 25 * time.Second

// keeps holds a write to P7: whoever was attached, and whose detach nobody has asked for, is cut off only
// where a live read said that the grant is left over.
func (vol *simVolume) keeps(w Write, now time.Time) error {
	if !vol.row.Ours {
		return nil
	}
	for _, g := range vol.row.Ledger.Grants {
		if a := vol.attachment(g.Node); a.held && !vol.behind() && !w.last().Ledger.Granted(g.Node) {
			return fmt.Errorf("P7: %s is revoked by %s, and nobody asked for that; its VolumeAttachment is there: %t, the node uses it: %t",
				g.Node, w.last().Ledger, a.wanted, a.inUse(now))
		}
	}
	return nil
}

// lets notes a request: whoever is asked off is not held.
func (vol *simVolume) lets(ev Event) {
	un, ok := ev.(Unpublish)
	if !ok {
		return
	}
	for i := range vol.attachments {
		if un.Node == "" || un.Node == playNodes[i] {
			vol.attachments[i].held = false
		}
	}
}

// holds notes that the driver says it has attached a node.
func (vol *simVolume) attaches(node NodeID) {
	for _, a := range vol.witness.asked {
		if un, ok := a.ev.(Unpublish); ok && (un.Node == "" || un.Node == node) {
			return
		}
	}
	vol.attachment(node).held = true
}

// timely holds the record of a timeout to P5: KubeVirt's time must be over, by what the process heard, and
// it must have asked since, or have asked in vain for as long as is promised.
func (vol *simVolume) timely(w Write, now time.Time) error {
	told := w.last().Ledger.Told
	if !strings.HasPrefix(told, "timeout.") || told == vol.row.Ledger.Told {
		return nil
	}
	token, err := parseToken(strings.TrimPrefix(told, "timeout."))
	f := vol.witness.fate(token)
	if err != nil || f == nil || f.ruled {
		return err
	}
	e := vol.ear(token)
	due := token.Time().Add(time.Duration(vol.row.Ledger.Timeout) * time.Second)
	if m := e.last; e.told && m.Verdict == VerdictOpen {
		if m.Started.IsZero() {
			return fmt.Errorf("P5: %s, and KubeVirt says that the migration has not begun", told)
		}
		due = m.Started.Add(time.Duration(vol.row.Ledger.Timeout) * time.Second)
		if m.Limit > 0 {
			due = m.Started.Add(m.Limit)
		}
	}
	switch {
	case now.Before(due):
		return fmt.Errorf("P5: %s, %v too early by %+v", told, due.Sub(now), e.last)
	case e.at.Before(due) && now.Before(due.Add(verdictWait)):
		return fmt.Errorf("P5: %s, and KubeVirt was not asked since the time was over, or not for long", told)
	}
	return nil
}

// fair holds the outcome of a migration to P5: it is what KubeVirt says, the detach order counts only where
// it says nothing, and neither takes longer than is promised.
func (vol *simVolume) fair(a Announcement, now time.Time) error {
	if a.Kind != MigrationCompleted && a.Kind != MigrationFailed {
		return nil
	}
	f := vol.witness.fate(TokenAt(a.At.Add(-a.Duration)))
	if f == nil || f.unsure {
		return nil
	}
	e := vol.ear(f.token)
	switch a.DecidedBy {
	case byKubeVirt:
		if says := map[AnnouncementKind]Verdict{MigrationCompleted: VerdictSucceeded, MigrationFailed: VerdictFailed}; f.final != says[a.Kind] {
			return fmt.Errorf("P5: told %+v, and KubeVirt says %+v", a, vol.job(a.Source, a.Target))
		}
	case byOrder:
		gs := vol.row.Ledger.Grants
		alone := len(gs) == 1 && (gs[0].Node == a.Source || gs[0].Node == a.Target)
		silent := e.none || e.told && e.last.Verdict == VerdictUncertain
		if waited := now.Sub(e.first); alone && !silent && (!e.asked || waited < verdictWait) && !vol.behind() {
			return fmt.Errorf("P5: told %+v %v after the detach, and of KubeVirt was heard %+v", a, waited, *e)
		}
	default:
		return fmt.Errorf("P5: nobody decided %+v", a)
	}
	since := later(e.over, vol.busy)
	if took := now.Sub(since); !e.over.IsZero() && took > verdictWait+ruleSlack {
		return fmt.Errorf("P5: told %+v only %v after the detach", a, took)
	}
	return nil
}

// wantTidy holds the end to P5 and P7: nothing that is left over stays, and no outcome is owed.
func (s *simulation) wantTidy() {
	now := time.Now()
	for _, id := range s.box.ids {
		vol := s.box.vols[id]
		l := vol.newest()
		if mg, ok := l.pending(); ok {
			s.t.Errorf("P5: in the end the outcome of %+v is pending on %s", mg, id)
		}
		for _, g := range l.Grants {
			if a := vol.attachment(g.Node); !a.wanted && (s.cluster.lost[g.Node] == nodeGone || !a.inUse(now)) {
				s.t.Errorf("P7: in the end %s has %s left over", id, g.Node)
			}
		}
	}
	if st := s.process().sup.Stats(); st.StaleHeld > 0 {
		s.t.Errorf("P7: in the end %d grants wait for a person", st.StaleHeld)
	}
}
