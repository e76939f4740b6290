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
	At     time.Time
	Offset int64 // bytes
	Length int64 // bytes
}

// A JournalEntry tells what one host wrote to one file through one subsystem.
type JournalEntry struct {
	File        string // name without a leading slash
	Subsystem   string // NQN
	Host        string // NQN
	Count       int64
	First, Last Write
}

// A journal is who wrote when. It outlives boots.
type journal struct {
	mu      sync.Mutex
	entries map[journalKey]JournalEntry
}

type journalKey struct{ file, subsystem, host string }

func newJournal() *journal { return &journal{entries: map[journalKey]JournalEntry{}} }

// note records a write.
func (j *journal) note(file, subsystem, host string, w Write) {
	k := journalKey{file, subsystem, host}
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := j.entries[k]
	if !ok {
		e = JournalEntry{File: file, Subsystem: subsystem, Host: host, First: w}
	}
	e.Count++
	e.Last = w
	j.entries[k] = e
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
