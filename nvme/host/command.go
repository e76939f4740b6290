// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"sync/atomic"
	"time"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// A command is one command on its way through a queue. From start until its result has come, the
// command and its data belong to the queue: whoever gives up waiting leaves both behind.
type command struct {
	op   string // for errors
	sqe  tcp.Command
	data []byte // to send, or to fill
	in   bool   // data comes from the target

	result chan result // room for one

	// refs counts what must happen before the queue lets go of the command: the answer, and each
	// send that the writer has yet to finish.
	refs atomic.Int32

	// Owned by the queue's reader.
	moved    int  // bytes of data that came, or that the target has asked for
	corrupt  bool // a data digest did not match
	answered bool
	answer   result
}

// A result is the answer to a command, or why there is none.
type result struct {
	completion tcp.Completion
	err        error // errLost: the queue is down
}

func newCommand(op string, sqe tcp.Command) *command {
	return &command{op: op, sqe: sqe, result: make(chan result, 1)}
}

// status returns nil for success and else a *StatusError.
func (r result) status(op string) error {
	if r.err != nil {
		return r.err
	}
	s := r.completion.Status
	if s.Err() == nil {
		return nil
	}
	return &StatusError{Op: op, Code: uint16(s.Code()), DNR: !s.Retry()}
}

// slots is the table of the commands in flight on a queue, by command ID.
type slots struct {
	free chan uint16 // command IDs; as many as the queue is deep
	born time.Time
	used []slot
}

type slot struct {
	command atomic.Pointer[command]
	since   atomic.Int64 // when it was started, in ns after born; zero: free
}

func newSlots(depth int) slots {
	s := slots{free: make(chan uint16, depth), born: time.Now(), used: make([]slot, depth)}
	for i := range depth {
		s.free <- uint16(i)
	}
	return s
}

// at returns the command with an ID, or nil.
func (s *slots) at(cid uint16) *command {
	if int(cid) >= len(s.used) {
		return nil
	}
	return s.used[cid].command.Load()
}

func (s *slots) put(cid uint16, c *command) {
	c.sqe.CID = cid
	s.used[cid].since.Store(max(int64(time.Since(s.born)), 1))
	s.used[cid].command.Store(c)
}

// take removes a command, and reports whether it was there.
func (s *slots) take(c *command) bool {
	cid := c.sqe.CID
	if !s.used[cid].command.CompareAndSwap(c, nil) {
		return false
	}
	s.used[cid].since.Store(0)
	s.free <- cid // never blocks: the ID was taken out
	return true
}

// oldest returns when the oldest command in flight was started, zero if there is none.
func (s *slots) oldest() (first time.Time) {
	for i := range s.used {
		if ns := s.used[i].since.Load(); ns != 0 {
			first = earliest(first, s.born.Add(time.Duration(ns)))
		}
	}
	return first
}
