// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// The configuration is a file that holds all of it, and a log of the changes since, a line for each.
// A change costs a line; when the log has grown to a few times the whole, the whole is written again.
// What was written outlives the process; an end within a line leaves the change undone, which nobody
// was told of.
//
// Each whole has a generation, and so have the lines that belong to it: older ones, which an end between
// writing a whole and emptying the log leaves there, are not read.

// A logged is a line of the log.
type logged struct {
	Generation uint64   `json:"generation,omitempty"`
	Next       diskID   `json:"next"`
	Set        []disk   `json:"set,omitempty"`
	Gone       []diskID `json:"gone,omitempty"`
}

// saved is the configuration as it is written whole.
type saved struct {
	Generation uint64 `json:"generation"`
	Next       diskID `json:"next"`
	Disks      []disk `json:"disks"`
}

// A past is a change that can be forgotten.
type past struct {
	at      time.Time
	next    diskID // before the change
	changes []change
}

const (
	maxPast = 4096    // changes that can be forgotten
	minLog  = 1 << 20 // bytes, before the whole is written again
)

func (s *store) config() string { return filepath.Join(s.dir, "config.json") }

func (s *store) logName() string { return filepath.Join(s.dir, "config.log") }

// encodeLine returns the line of the log for the changes that made next.
func encodeLine(generation uint64, next table, changes []change) ([]byte, error) {
	line := logged{Generation: generation, Next: next.next}
	for _, c := range changes {
		if c.next.ID == 0 {
			line.Gone = append(line.Gone, c.old.ID)
		} else {
			line.Set = append(line.Set, c.next)
		}
	}
	b, err := json.Marshal(line)
	if err != nil {
		return nil, fmt.Errorf("encode the box's configuration: %w", err)
	}
	return append(b, '\n'), nil
}

// encodeWhole returns the JSON of a saved with a row on each line.
func encodeWhole(generation uint64, t table) ([]byte, error) {
	b := fmt.Appendf(nil, "{\"generation\": %d, \"next\": %d, \"disks\": [", generation, t.next)
	for i, d := range t.disks {
		row, err := json.Marshal(d)
		if err != nil {
			return nil, fmt.Errorf("encode the box's configuration: %w", err)
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, '\n'), row...)
	}
	return append(b, "\n]}\n"...), nil
}

// readConfig returns the configuration that was written whole with what the log says behind it. Nothing
// written is a box without disks.
func readConfig(whole, log []byte) (c saved, err error) {
	if len(whole) > 0 {
		if err := json.Unmarshal(whole, &c); err != nil {
			return c, err
		}
	}
	rows := make(map[diskID]disk, len(c.Disks))
	for _, d := range c.Disks {
		rows[d.ID] = d
	}
	for {
		line, rest, complete := bytes.Cut(log, []byte{'\n'})
		if !complete { // within a line the process ended
			c.Next, c.Disks = max(c.Next, poolID+1), byID(rows)
			return c, nil
		}
		log = rest
		var l logged
		if err := json.Unmarshal(line, &l); err != nil {
			return c, err
		}
		if l.Generation == c.Generation {
			c.Next = l.Next
			l.apply(rows)
		}
	}
}

// apply makes the changes of a line.
func (l logged) apply(rows map[diskID]disk) {
	for _, d := range l.Set {
		rows[d.ID] = d
	}
	for _, id := range l.Gone {
		delete(rows, id)
	}
}

// save keeps the changes that made next of a table that had wasNext as its next row.
func (s *store) save(wasNext diskID, next table, changes []change, now time.Time) error {
	save := s.saveLine
	if s.torn || s.logged > max(minLog, 4*s.whole) {
		save = func(next table, _ []change) error { return s.saveWhole(next) }
	}
	if err := save(next, changes); err != nil {
		return fmt.Errorf("save the box's configuration: %w", err)
	}
	s.history = append(s.history, past{now, wasNext, changes})
	if len(s.history) > 2*maxPast {
		s.history = slices.Clone(s.history[len(s.history)-maxPast:])
	}
	return nil
}

// saveLine writes a line of the log.
func (s *store) saveLine(next table, changes []change) error {
	line, err := encodeLine(s.generation, next, changes)
	if err != nil {
		return err
	}
	if _, err := s.log.Write(line); err != nil {
		s.cutLog(s.logged) // a part of a line must not stay in front of the next
		return err
	}
	s.logged += int64(len(line))
	return nil
}

// saveWhole writes the whole configuration, all of it or nothing, and begins the log anew.
func (s *store) saveWhole(t table) error {
	b, err := encodeWhole(s.generation+1, t)
	if err != nil {
		return err
	}
	draft := s.config() + ".new"
	if err := os.WriteFile(draft, b, 0o600); err != nil {
		return err
	}
	if err := os.Rename(draft, s.config()); err != nil {
		return err
	}
	s.generation++
	s.whole = int64(len(b))
	s.cutLog(0)
	return nil
}

// cutLog shortens the log. Where it cannot be, nothing more is written to it.
func (s *store) cutLog(size int64) {
	s.torn = s.log.Truncate(size) != nil
	s.logged = size
}

// openLog opens the log for appending.
func (s *store) openLog() error {
	f, err := os.OpenFile(s.logName(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the box's configuration: %w", err)
	}
	s.log = f
	return nil
}

// loadConfig reads the whole and the log.
func (s *store) loadConfig() (saved, error) {
	whole, err := os.ReadFile(s.config())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return saved{}, fmt.Errorf("read the box's configuration: %w", err)
	}
	log, err := os.ReadFile(s.logName())
	if err != nil {
		return saved{}, fmt.Errorf("read the box's configuration: %w", err)
	}
	c, err := readConfig(whole, log)
	if err != nil {
		return saved{}, fmt.Errorf("read the box's configuration %s and %s: %w", s.config(), s.logName(), err)
	}
	s.generation = c.Generation
	return c, nil
}

// byID returns rows by ascending ID.
func byID(rows map[diskID]disk) []disk {
	disks := make([]disk, 0, len(rows))
	for _, d := range rows {
		disks = append(disks, d)
	}
	slices.SortFunc(disks, func(a, b disk) int { return int(int64(a.ID) - int64(b.ID)) })
	return disks
}

// rewind takes back what was changed after a time, as far as it is known.
func (s *store) rewind(t table, since time.Time) table {
	rows := make(map[diskID]disk, len(t.disks))
	for _, d := range t.disks {
		rows[d.ID] = d
	}
	for _, p := range slices.Backward(s.history) {
		if !p.at.After(since) {
			break
		}
		for _, c := range slices.Backward(p.changes) {
			if c.old.ID == 0 {
				delete(rows, c.next.ID)
			} else {
				rows[c.old.ID] = c.old
			}
		}
		t.next = p.next
	}
	t.disks = byID(rows)
	return t
}
