// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

// A Write is one write command of a host that reached a disk's file.
type Write struct {
	At     time.Time `json:"at"`
	Offset int64     `json:"offset"` // bytes
	Length int64     `json:"length"` // bytes
}

// A JournalEntry tells what one host wrote to one file through one subsystem.
type JournalEntry struct {
	File      string `json:"file"`      // name without a leading slash
	Subsystem string `json:"subsystem"` // NQN
	Host      string `json:"host"`      // NQN
	Count     int64  `json:"count"`
	First     Write  `json:"first"`
	Last      Write  `json:"last"`
}

// maxJournal is how many entries a journal holds. Then those whose last write is the oldest go.
const maxJournal = 64 << 10

// A journal is who wrote when. It outlives boots.
type journal struct {
	most int // entries

	mu      sync.Mutex
	entries map[journalKey]JournalEntry
	lost    int64 // entries that went
}

type journalKey struct{ file, subsystem, host string }

func newJournal() *journal {
	return &journal{most: maxJournal, entries: map[journalKey]JournalEntry{}}
}

// note records a write.
func (j *journal) note(file, subsystem, host string, w Write) {
	k := journalKey{file, subsystem, host}
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := j.entries[k]
	if !ok {
		if len(j.entries) >= j.most {
			j.thin()
		}
		e = JournalEntry{File: file, Subsystem: subsystem, Host: host, First: w}
	}
	e.Count++
	e.Last = w
	j.entries[k] = e
}

// thin lets the quarter of the entries go whose last writes are the oldest.
func (j *journal) thin() {
	list := slices.SortedFunc(maps.Values(j.entries), func(a, b JournalEntry) int { return a.Last.At.Compare(b.Last.At) })
	for _, e := range list[:(len(list)+3)/4] {
		delete(j.entries, journalKey{e.File, e.Subsystem, e.Host})
		j.lost++
	}
}

// forgotten returns how many entries went.
func (j *journal) forgotten() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lost
}

// list returns the entries in the order of their first writes.
func (j *journal) list() []JournalEntry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.SortedFunc(maps.Values(j.entries), func(a, b JournalEntry) int {
		return cmp.Or(a.First.At.Compare(b.First.At), cmp.Compare(a.File, b.File), cmp.Compare(a.Subsystem, b.Subsystem), cmp.Compare(a.Host, b.Host))
	})
}

// counts is how often each command came. It outlives boots.
type counts struct {
	mu sync.Mutex
	n  map[string]int
}

func newCounts() *counts { return &counts{n: map[string]int{}} }

// add counts a command, whose name must be one of a fixed set.
func (c *counts) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[name]++
}

func (c *counts) snapshot() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.n)
}
