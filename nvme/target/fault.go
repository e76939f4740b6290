// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"time"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// A Request is a command of a host, as Config.Fault is asked about it.
type Request struct {
	Subsystem string // NQN
	Host      string // NQN
	Operation Operation
}

// An Operation is what a command asks for, as far as faults tell commands apart.
type Operation string

// The operations that a fault may happen to.
const (
	OperationConnect    Operation = "connect"  // Connect of an admin queue
	OperationIdentify   Operation = "identify" // Identify Namespace
	OperationShutdown   Operation = "shutdown" // Property Set that asks for a shutdown
	OperationRead       Operation = "read"
	OperationWrite      Operation = "write"
	OperationZero       Operation = "write-zeroes"
	OperationFlush      Operation = "flush"
	OperationDeallocate Operation = "deallocate"
)

// A Fault is what goes wrong with a command. The zero Fault is nothing. Hold and Delay come first, in that order, and
// end with the connection; they keep a worker of an I/O queue busy, and nothing of an admin queue.
type Fault struct {
	// Hold makes the command wait until it is closed. Nil: no wait.
	Hold <-chan struct{}
	// Delay is waited for after Hold.
	Delay time.Duration
	// Status is what the command fails with, which is not carried out. Zero: it is.
	Status tcp.Status
	// Blank makes a read answer zeroes.
	Blank bool
	// Size is how many bytes Identify tells that the namespace has. Zero: what it has.
	Size int64
	// Stale makes Identify tell the size that the namespace had when the controller began.
	Stale bool
}

// suffer waits as long as a fault says. False: the connection has ended.
func (q *queue) suffer(f Fault) bool {
	if f.Hold != nil {
		select {
		case <-f.Hold:
		case <-q.done:
			return false
		}
	}
	if f.Delay <= 0 {
		return true
	}
	timer := time.NewTimer(f.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-q.done:
		return false
	}
}

// survives lets a fault happen to a command. False: the command is answered, or its connection has ended.
func (q *queue) survives(cmd *command, f Fault) bool {
	if !q.suffer(f) {
		return false
	}
	if f.Status != tcp.StatusSuccess {
		q.fail(cmd, f.Status)
		return false
	}
	return true
}

// aside carries out a command of the admin queue with what goes wrong with it. One that waits lets those behind it
// overtake, as keep-alives.
func (q *queue) aside(cmd *command, op Operation, do func(Fault)) {
	f := q.t.cfg.Fault(Request{Subsystem: q.ctrl.sub.nqn, Host: q.ctrl.hostNQN, Operation: op})
	carryOut := func() {
		if q.survives(cmd, f) {
			do(f)
		}
	}
	if f.Hold == nil && f.Delay <= 0 {
		carryOut()
		return
	}
	q.workers.Go(carryOut)
}

// operation is what a command of an I/O queue asks for.
func (cmd *command) operation() Operation {
	switch cmd.Opcode {
	case tcp.OpRead:
		return OperationRead
	case tcp.OpWrite:
		return OperationWrite
	case tcp.OpWriteZeroes:
		return OperationZero
	case tcp.OpFlush:
		return OperationFlush
	default: // check let nothing else pass
		return OperationDeallocate
	}
}

// perform carries out a command of an I/O queue, with what goes wrong with it, and answers it.
func (q *queue) perform(cmd *command) {
	f := q.t.cfg.Fault(Request{Subsystem: q.ctrl.sub.nqn, Host: q.ctrl.hostNQN, Operation: cmd.operation()})
	if !q.survives(cmd, f) {
		return
	}
	if f.Blank && cmd.Opcode == tcp.OpRead {
		cmd.buf = q.t.pool.get(cmd.transfer)
		clear(cmd.buf)
		cmd.data = cmd.buf
	} else {
		cmd.reply.Status = q.execute(cmd)
	}
	q.answer(cmd)
}

// told is the size in blocks that Identify tells of the namespace.
func (c *controller) told(f Fault) uint64 {
	switch {
	case f.Size > 0:
		return uint64(f.Size) >> blockShift
	case f.Stale:
		return c.began
	}
	return c.sub.blocks()
}
