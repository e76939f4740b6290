// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"strings"
	"time"
)

// inherited returns what was to be announced last of the volume's latest migration, as far as its row shows
// that: how it ended or, where that is still to be announced, that it began.
func (v Volume) inherited(now time.Time) (Announcement, bool) {
	mg, open := v.Ledger.migration()
	if !open {
		mg, open = v.Ledger.pending()
	}
	if open && !mg.told {
		return Announcement{
			Kind: MigrationStarted, Volume: v.ID, At: mg.start, Grant: mg.target.At,
			Source: mg.source.Node, Target: mg.target.Node, Timeout: time.Duration(v.Ledger.Timeout) * time.Second,
		}, true
	}
	kind, at, ok := v.Ledger.outcome()
	if !ok {
		return Announcement{}, false
	}
	a := Announcement{Kind: kind, Volume: v.ID, At: now, Grant: at, Duration: max(0, now.Sub(at.Time()))}
	for _, g := range v.Ledger.Grants { // a grant after the migration's would have cleared its outcome
		if g.At == at {
			a.Target = g.Node
		} else {
			a.Source = g.Node
		}
	}
	return a, true
}

// outcome returns how the ledger's latest migration ended and its target's grant, and false where it says
// nothing of that.
func (l Ledger) outcome() (AnnouncementKind, Token, bool) {
	_, token, _ := strings.Cut(l.Told, ".")
	at, err := parseToken(token)
	if err != nil {
		return 0, 0, false
	}
	for _, kind := range []AnnouncementKind{MigrationCompleted, MigrationFailed, MigrationTimedOut} {
		if l.Told == entry(kind, at) {
			return kind, at, true
		}
	}
	return 0, 0, false
}
