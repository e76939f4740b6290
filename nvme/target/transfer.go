// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"errors"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// A command is one command from its capsule to its completion. It belongs to the goroutine that
// works on it; what passes it on is a channel or queue.mu.
type command struct {
	tcp.Command
	reply tcp.Completion // without CID and SQHD
	data  []byte         // for the host, with a successful reply
	buf   []byte         // of the pool; data may be in it

	transfer  int  // bytes of data, in the direction of the opcode
	toTarget  bool // the data comes from the host
	loaded    bool // it has come
	charged   int  // of the connection's buffers
	receiving bool // an R2T is outstanding; guarded by queue.mu
	received  int  // bytes, of the R2T; the reader's
	damaged   bool // a data digest did not match; the reader's
}

// takeCapsule reads the data in a command's capsule into its buffer.
func (q *queue) takeCapsule(cmd *command) error {
	cmd.buf = q.t.pool.get(cmd.transfer)
	cmd.loaded = true
	return q.r.ReadData(cmd.buf)
}

// schedule passes a command to the workers, once there is a buffer for its data. Commands that wait
// for one keep their order.
func (q *queue) schedule(cmd *command) {
	need := 0
	if !cmd.loaded {
		need = classSize(cmd.transfer)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if need > 0 && (len(q.pending) > 0 || q.buffered+need > q.t.cfg.BufferBytes) {
		q.pending = append(q.pending, cmd)
		return
	}
	q.grantLocked(cmd, need)
}

// grantLocked lets a command use a buffer of need bytes. The channel has room.
func (q *queue) grantLocked(cmd *command, need int) {
	cmd.charged = need
	q.buffered += need
	q.ready <- cmd
}

// release gives a command's buffer back and lets those go on that waited for it.
func (q *queue) release(cmd *command) {
	q.t.pool.put(cmd.buf)
	cmd.buf, cmd.data = nil, nil
	if cmd.charged == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.buffered -= cmd.charged
	cmd.charged = 0
	for len(q.pending) > 0 {
		next := q.pending[0]
		need := classSize(next.transfer)
		if q.buffered+need > q.t.cfg.BufferBytes {
			return
		}
		q.pending = q.pending[1:]
		q.grantLocked(next, need)
	}
}

// noHead is the SQHD where flow control is disabled. In the answer to Connect it says so.
const noHead = 0xffff

// retire forgets a command that is about to be answered. It returns the submission queue head to
// answer with, and whether flow control is disabled.
func (q *queue) retire(cmd *command) (head uint16, noFlow bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.outstanding--
	if q.inflight[cmd.CID] == cmd {
		delete(q.inflight, cmd.CID)
	}
	if q.noFlow {
		return noHead, true
	}
	if q.head++; q.head >= q.entries {
		q.head = 0
	}
	return uint16(q.head), false
}

// abort answers a command that waits for a buffer as aborted. False: it is past that, or unknown.
func (q *queue) abort(cid uint16) bool {
	q.mu.Lock()
	var found *command
	for i, cmd := range q.pending {
		if cmd.CID == cid {
			found = cmd
			q.pending = append(q.pending[:i:i], q.pending[i+1:]...)
			break
		}
	}
	q.mu.Unlock()
	if found == nil {
		return false
	}
	q.fail(found, tcp.StatusAborted)
	return true
}

// request asks the host for the data of a command: all of it, with one R2T, whose tag is the CID.
func (q *queue) request(cmd *command) {
	cmd.buf = q.t.pool.get(cmd.transfer)
	q.mu.Lock()
	cmd.receiving = true
	q.mu.Unlock()
	q.send(outgoing{pdu: tcp.R2T{CID: cmd.CID, TTag: cmd.CID, Length: uint32(cmd.transfer)}})
}

// receive takes data that an R2T asked for. An error ends the connection.
func (q *queue) receive(p tcp.H2CData) error {
	q.mu.Lock()
	cmd := q.inflight[p.TTag]
	wanted := cmd != nil && cmd.receiving && cmd.CID == p.CID
	q.mu.Unlock()
	switch {
	case !wanted:
		return q.r.Fault(tcp.FatalHeaderField, 10, "H2CData for command %d, tag %d, which no R2T asked for", p.CID, p.TTag)
	case int64(p.Offset) != int64(cmd.received) || int64(p.Length) > int64(cmd.transfer-cmd.received):
		return q.r.Fault(tcp.FatalOutOfRange, 0, "H2CData of %d bytes at %d, want at %d of %d",
			p.Length, p.Offset, cmd.received, cmd.transfer)
	}
	end := cmd.received + int(p.Length)
	if p.Last != (end == cmd.transfer) {
		return q.r.Fault(tcp.FatalHeaderField, 1, "H2CData to %d of %d with LAST_PDU %v", end, cmd.transfer, p.Last)
	}
	switch err := q.r.ReadData(cmd.buf[cmd.received:end]); {
	case errors.Is(err, tcp.ErrDataDigest):
		cmd.damaged = true
	case err != nil:
		return err
	}
	cmd.received = end
	q.ctrl.touch()
	if !p.Last {
		return nil
	}
	q.mu.Lock()
	cmd.receiving = false
	cmd.loaded = true
	q.mu.Unlock()
	if cmd.damaged {
		q.fail(cmd, tcp.StatusTransientTransport)
		return nil
	}
	q.ready <- cmd // has room
	return nil
}
