// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rds-csi/rds-csi/actors"
)

// reservations keep volumes that are created at the same time from choosing the same port: a listing
// that began before a row was added does not show its port as used.
type reservations struct {
	mu  sync.Mutex
	all []*reservation
}

type reservation struct {
	port  uint16
	freed time.Time // listings that began later show the row, if there is one; zero: held
}

// choose returns the port of a range that the fewest rows and reservations have, the first of several,
// and reserves it until it is released.
func (rs *reservations) choose(snap *snapshot, ports actors.Ports) *reservation {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	held := map[uint16]int{}
	for _, r := range rs.all {
		if r.freed.IsZero() || snap.at.Before(r.freed) {
			held[r.port]++
		}
	}
	best, fewest := &reservation{}, -1
	for p := int(ports.First); p <= int(ports.Last) && fewest != 0; p++ {
		port := uint16(p)
		if n := snap.ports[strconv.Itoa(p)] + held[port]; fewest < 0 || n < fewest {
			best.port, fewest = port, n
		}
	}
	rs.all = append(rs.all, best)
	return best
}

// release ends a reservation, of which listings until now know nothing. Those that are older than
// memory can no longer be in use.
func (rs *reservations) release(r *reservation, now time.Time, memory time.Duration) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r.freed = now
	rs.all = slices.DeleteFunc(rs.all, func(r *reservation) bool {
		return !r.freed.IsZero() && now.Sub(r.freed) > memory
	})
}
