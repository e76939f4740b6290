// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"fmt"
	"time"
)

// A Finding is what a person should know of a volume's row.
type Finding struct {
	Text  string
	Wrong bool // somebody has to do something about it, or the driver owes it
}

// Audit compares a row of a cluster with its own ledger. It finds nothing where all is well.
func (v Volume) Audit(cluster string) (found []Finding) {
	l := v.Ledger
	wrong := func(format string, args ...any) { found = append(found, Finding{fmt.Sprintf(format, args...), true}) }
	if l.Off {
		wrong("bounce owed since %s", stamp(l.Bounce.Time()))
	}
	if text, overdue := l.progress(); text != "" {
		found = append(found, Finding{text, overdue})
	}
	want := State{id: v.ID, rules: Rules{Cluster: cluster}, vol: v}.rowFor(l)
	switch _, named := NQNPrefix(v.NQN, v.ID); {
	case l.Off:
	case v.Export && !want.Export:
		wrong("exported without a grant")
	case !v.Export && want.Export:
		wrong("granted, but not exported")
	case !named && v.NQN != "":
		wrong("its NQN does not name it")
	case named && v.NQN != want.NQN:
		wrong("its NQN is not that of its ledger")
	case v.Export && v.AllowHost != want.AllowHost:
		wrong("allowed host is not that of its ledger")
	}
	return found
}

// progress tells of a migration that the ledger shows, and whether its time was over.
func (l Ledger) progress() (text string, overdue bool) {
	if mg, ok := l.pending(); ok {
		return fmt.Sprintf("migration since %s (outcome pending)", stamp(mg.start)), false
	}
	mg, ok := l.migration()
	switch {
	case !ok:
		return "", false
	case mg.told:
		return fmt.Sprintf("migration since %s (longer than %d s, told)", stamp(mg.start), l.Timeout), true
	}
	return fmt.Sprintf("migration since %s", stamp(mg.start)), false
}

// Role returns what a granted node is in a migration, "source" or "target", and "" where there is none.
func (l Ledger) Role(node NodeID) string {
	mg, ok := l.migration()
	switch {
	case ok && node == mg.source.Node:
		return "source"
	case ok && node == mg.target.Node:
		return "target"
	}
	return ""
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
