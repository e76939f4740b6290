// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"sync"

	"github.com/rds-csi/rds-csi/actors"
)

// announcements takes the place of the events that a cluster would show.
type announcements struct {
	mu  sync.Mutex
	all []actors.Announcement
}

// Announce implements actors.Announcer.
func (as *announcements) Announce(a actors.Announcement) {
	as.mu.Lock()
	defer as.mu.Unlock()
	as.all = append(as.all, a)
}

// only returns the one announcement of a kind; none, or more than one, is an error.
func (as *announcements) only(kind actors.AnnouncementKind) (actors.Announcement, error) {
	as.mu.Lock()
	defer as.mu.Unlock()
	of := func(a actors.Announcement) bool { return a.Kind == kind }
	i := slices.IndexFunc(as.all, of)
	if i < 0 {
		return actors.Announcement{}, fmt.Errorf("%v was not announced", kind)
	}
	if slices.ContainsFunc(as.all[i+1:], of) {
		return actors.Announcement{}, fmt.Errorf("%v was announced more than once", kind)
	}
	return as.all[i], nil
}
