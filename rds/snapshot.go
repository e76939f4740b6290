// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

// A snapshot is what one listing showed. It does not change.
type snapshot struct {
	at      time.Time // when the rows were asked for, or before
	began   uint64    // the same, by the clock of the sessions
	born    uint64    // when the session was made, by the same clock
	volumes map[actors.VolumeID]*row
	pools   map[string][]pool // by mount point, without slashes
	ports   map[string]int    // how many rows have the NVMe/TCP port, shown or by their ledger
	files   map[string]file   // every file disk, by .id: what the next listing need not parse
	// missing are volumes whose rows an earlier listing showed, before what may have been a restart of the
	// box, and until when they are taken to come back.
	missing map[actors.VolumeID]time.Time
}

// A file is a file disk as the box showed it, and what was made of that.
type file struct {
	re  routeros.Row
	row *row // nil: it holds no volume
}

// A pool is a mounted disk.
type pool struct {
	slot     string
	state    string // of a RAID: "clean", or what is wrong or under way
	disabled string
	size     string
	free     string
}

// newSnapshot makes sense of a listing's rows. A row that came word for word with the listing before is
// not parsed again; before is nil where there was none, and is not kept.
func newSnapshot(at time.Time, rows []routeros.Row, before *snapshot) *snapshot {
	s := &snapshot{
		at: at, volumes: make(map[actors.VolumeID]*row, len(rows)), pools: map[string][]pool{},
		ports: make(map[string]int, len(rows)), files: make(map[string]file, len(rows)),
	}
	if before == nil {
		before = &snapshot{}
	}
	for _, re := range rows {
		s.add(re, before.files[re.Get(".id")])
	}
	return s
}

// add takes a row. old is what had its .id in the listing before.
func (s *snapshot) add(re routeros.Row, old file) {
	port := re.Get("nvme-tcp-server-port")
	if port != "" {
		s.ports[port]++
	}
	if re.Get("type") != "file" {
		if at := strings.Trim(re.Get("mount-point"), "/"); at != "" {
			s.pools[at] = append(s.pools[at], pool{
				slot: re.Get("slot"), state: re.Get("state"), disabled: re.Get("disabled"), size: re.Get("size"), free: re.Get("free"),
			})
		}
		return
	}
	f := old
	if !slices.Equal(old.re, re) {
		f = file{re, parseRow(re)}
	}
	s.files[re.Get(".id")] = f
	r := f.row
	if r == nil {
		return
	}
	if port == "" && r.ledger.Port != 0 {
		s.ports[strconv.Itoa(int(r.ledger.Port))]++ // hidden, and the volume's all the same
	}
	if other, twice := s.volumes[r.holds]; twice {
		both := *r // the row itself stays as it was parsed: the next listing may show it alone
		both.ours = r.ours || other.ours
		both.ledger = actors.Ledger{}
		both.err = fmt.Errorf("disks %q and %q both hold the volume, remove the wrong one by hand: %w", other.slot, r.slot, actors.ErrPrecondition)
		r = &both
	}
	s.volumes[r.holds] = r
}

// lacks reports whether a row of the listing before is missing.
func (s *snapshot) lacks(before *snapshot) bool {
	for id := range before.volumes {
		if _, still := s.volumes[id]; !still {
			return true
		}
	}
	return false
}

// expect notes the rows of the listing before that are missing. restarted says that the box may have
// restarted in between: disks come back later than the box does, perhaps, and a row that is not there
// proves nothing for a while.
func (s *snapshot) expect(before *snapshot, restarted bool, grace time.Duration) {
	s.missing = map[actors.VolumeID]time.Time{}
	note := func(id actors.VolumeID, until time.Time) {
		if _, back := s.volumes[id]; !back && s.at.Before(until) {
			s.missing[id] = until
		}
	}
	for id, until := range before.missing {
		note(id, until)
	}
	if !restarted {
		return
	}
	for id := range before.volumes {
		note(id, s.at.Add(grace))
	}
}

// late reports actors.ErrUnavailable for a volume whose row is taken to come back.
func (s *snapshot) late(id actors.VolumeID) error {
	until, missing := s.missing[id]
	if !missing {
		return nil
	}
	return fmt.Errorf("its disk was there before the box may have restarted, and is expected to come back until %s: %w", until.UTC().Format(time.RFC3339), actors.ErrUnavailable)
}

// row returns a volume's row, and false if there is none.
func (s *snapshot) row(id actors.VolumeID) (row, bool) {
	r, ok := s.volumes[id]
	if !ok {
		return row{}, false
	}
	return *r, true
}

// failedState is what a RAID that lost its data may be called. A RAID that resyncs or lacks a disk
// serves its data and is not meant.
var failedState = regexp.MustCompile(`(?i)fail|error|inactive|broken|missing|stopped|offline`)

// poolOf returns the pool that holds a directory: the disk that is mounted at its first part. The error
// is actors.ErrUnavailable, and says what is missing.
func (s *snapshot) poolOf(dir string) (pool, error) {
	at, _, _ := strings.Cut(strings.TrimPrefix(dir, "/"), "/")
	pools := s.pools[at]
	switch len(pools) {
	case 0:
		return pool{}, fmt.Errorf("the box has no disk mounted at %q, which holds %s: mount it, or name another directory (--volume-path, volumePath of the StorageClass); a RAID needs the package rose-storage on the box: %w", at, dir, actors.ErrUnavailable)
	case 1:
	default:
		return pool{}, fmt.Errorf("the box has %d disks mounted at %q, which holds %s: %w", len(pools), at, dir, actors.ErrUnavailable)
	}
	p := pools[0]
	if off, err := parseBool(p.disabled); off || err != nil {
		return pool{}, fmt.Errorf("disk %q, which holds %s, is disabled: %w", p.slot, dir, actors.ErrUnavailable)
	}
	if failedState.MatchString(p.state) {
		return pool{}, fmt.Errorf("disk %q, which holds %s, is in state %.80q: %w", p.slot, dir, p.state, actors.ErrUnavailable)
	}
	return p, nil
}

// capacity returns the pool's size and free space. The error is actors.ErrUnavailable.
func (p pool) capacity() (actors.Capacity, error) {
	total, err := parseSize(p.size)
	if err != nil {
		return actors.Capacity{}, fmt.Errorf("disk %q shows no size: %w: %w", p.slot, err, actors.ErrUnavailable)
	}
	free, err := parseSize(p.free)
	if err != nil {
		return actors.Capacity{}, fmt.Errorf("disk %q shows no free space: %w: %w", p.slot, err, actors.ErrUnavailable)
	}
	return actors.Capacity{Total: total, Free: free}, nil
}
