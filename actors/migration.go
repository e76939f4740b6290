// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"slices"
	"strings"
	"time"
)

// A migration is a shared volume granted to two nodes, or one that was and whose outcome is pending.
// It is derived from the ledger alone, so that a restart finds the same one.
type migration struct {
	source, target Grant // the newer grant is the target's
	start          time.Time
	told           bool // its outcome is in the ledger: it was announced
}

// migration returns the migration that the ledger shows, if there is one.
func (l Ledger) migration() (migration, bool) {
	if l.Access != AccessShared || len(l.Grants) != 2 {
		return migration{}, false
	}
	m := migration{source: l.Grants[0], target: l.Grants[1]}
	m.start = m.target.At.Time()
	m.told = strings.HasSuffix(l.Told, "."+m.target.At.String())
	return m, true
}

// pendingKind begins the entry of a migration that ended before KubeVirt said how.
const pendingKind = "pending"

// pending returns the migration that ended and whose outcome is to be told yet, if there is one. It
// lasts only while the node that stayed is the only one granted.
func (l Ledger) pending() (migration, bool) {
	kind, token, _ := strings.Cut(l.Told, ".")
	at, err := parseToken(token)
	if kind != pendingKind || err != nil || l.Access != AccessShared || len(l.Grants) != 1 || l.Left == "" {
		return migration{}, false
	}
	stayed, left := l.Grants[0], Grant{Node: l.Left, At: at}
	m := migration{source: stayed, target: left, start: at.Time()}
	if stayed.At == at {
		m.source, m.target = Grant{Node: l.Left}, stayed
	}
	return m, true
}

// entry is the ledger's record of an outcome. The token tells which migration it belongs to.
func (mg migration) entry(kind AnnouncementKind) string { return entry(kind, mg.target.At) }

func entry(kind AnnouncementKind, target Token) string {
	name := pendingKind
	switch kind {
	case MigrationCompleted:
		name = "success"
	case MigrationFailed:
		name = "failed"
	case MigrationTimedOut:
		name = "timeout"
	}
	return name + "." + target.String()
}

// shownBy reports whether a row shows what is to be told, so that nobody will find it out again.
func (p announcing) shownBy(v Volume) bool {
	switch {
	case !v.Exists:
		return true
	case p.a.Kind == Detached || p.a.Kind == StaleCleared:
		return !v.Ledger.Granted(p.a.Node)
	case p.a.Kind == Repaired:
		return false
	}
	return v.Ledger.Told == entry(p.a.Kind, TokenAt(p.since)) // a migration's outcome
}

// A ruling is how a migration ended: an outcome to be told, or none yet.
type ruling struct {
	kind   AnnouncementKind // MigrationCompleted, MigrationFailed, or 0: KubeVirt has not said yet
	reason string           // of a failure
	by     string           // who decided
}

// Who decides a migration's outcome.
const (
	byKubeVirt = "KubeVirt"
	byOrder    = "detach order"
)

// orderOf rules by the order of detaches: the source left and the target stays, or not. It is all there
// is to go by where KubeVirt says nothing.
func (mg migration) orderOf(after Ledger) ruling {
	switch {
	case after.Granted(mg.target.Node):
		return ruling{MigrationCompleted, "", byOrder}
	case after.Granted(mg.source.Node):
		return ruling{MigrationFailed, "target detached before source", byOrder}
	}
	return ruling{MigrationFailed, "source and target detached together", byOrder}
}

// announcing is what is to be told of a migration's outcome.
func (mg migration) announcing(r ruling) announcing {
	return announcing{Announcement{
		Kind: r.kind, Source: mg.source.Node, Target: mg.target.Node, Grant: mg.target.At, Reason: r.reason, DecidedBy: r.by,
	}, mg.start}
}

// end returns the ledger after, which follows before, with the record of how a migration ended by it,
// and what is to be told of that. Where KubeVirt has not said yet and one of the nodes stays, the
// outcome is pending.
func (m *machine) end(before, after Ledger) (Ledger, []announcing) {
	var out []announcing
	if mg, ok := before.pending(); ok && !slices.Equal(before.Grants, after.Grants) {
		// What comes next has no room for it beside it.
		r, decided := m.s.verdict(mg)
		if !decided {
			r = mg.orderOf(before)
		}
		after.Told, after.Left = mg.entry(r.kind), ""
		out = append(out, mg.announcing(r))
	}
	mg, ok := before.migration()
	if !ok || mg.told || len(after.Grants) == 2 {
		return after, out
	}
	r, decided := m.s.verdict(mg)
	if !decided && (!m.s.waits(mg) || len(after.Grants) == 0) {
		r, decided = mg.orderOf(after), true
	}
	after.Told = mg.entry(r.kind)
	if !decided {
		after.Left = mg.source.Node
		if after.Granted(mg.source.Node) {
			after.Left = mg.target.Node
		}
		return after, out
	}
	return after, append(out, mg.announcing(r))
}
