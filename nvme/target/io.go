// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"errors"
	"syscall"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// nsid is the only namespace of every subsystem.
const nsid = 1

// io takes a command of an I/O queue: it checks it and passes it to the workers. An error ends the
// connection.
func (q *queue) io(cmd *command) error {
	if status := q.check(cmd); status != tcp.StatusSuccess {
		q.fail(cmd, status|tcp.DNR)
		return nil //nolint:nilerr // the command failed and was answered; the connection goes on
	}
	if cmd.toTarget && cmd.SGL.ID == tcp.SGLInCapsule {
		switch err := q.takeCapsule(cmd); {
		case errors.Is(err, tcp.ErrDataDigest):
			q.fail(cmd, tcp.StatusTransientTransport)
			return nil
		case err != nil:
			return err
		}
	}
	q.schedule(cmd)
	return nil
}

// check validates a command and tells how much data it moves, and where to.
func (q *queue) check(cmd *command) tcp.Status {
	if cmd.NSID != nsid && (cmd.Opcode != tcp.OpFlush || cmd.NSID != tcp.BroadcastNSID) {
		return tcp.StatusInvalidNamespace
	}
	switch cmd.Opcode {
	case tcp.OpFlush:
		return tcp.StatusSuccess
	case tcp.OpRead, tcp.OpWrite:
		cmd.transfer = cmd.Blocks() << blockShift
		cmd.toTarget = cmd.Opcode == tcp.OpWrite
		switch {
		case cmd.transfer > q.t.cfg.MaxData:
			return tcp.StatusInvalidField
		case int64(cmd.SGL.Length) != int64(cmd.transfer):
			return tcp.StatusSGLDataLength
		case !q.inRange(cmd.LBA(), uint64(cmd.Blocks())):
			return tcp.StatusLBARange
		}
	case tcp.OpWriteZeroes:
		if !q.inRange(cmd.LBA(), uint64(cmd.Blocks())) {
			return tcp.StatusLBARange
		}
		return tcp.StatusSuccess
	case tcp.OpDSM:
		// Hosts send a whole page whatever the number of ranges is.
		ranges := int(cmd.CDW10&0xff) + 1
		if int64(cmd.SGL.Length) < int64(ranges*tcp.DSMRangeLen) || cmd.SGL.Length > tcp.MaxDSMRanges*tcp.DSMRangeLen {
			return tcp.StatusSGLDataLength
		}
		cmd.transfer = int(cmd.SGL.Length)
		cmd.toTarget = true
	default:
		return tcp.StatusInvalidOpcode
	}
	return q.checkSGL(cmd)
}

// checkSGL validates where the data of a command is.
func (q *queue) checkSGL(cmd *command) tcp.Status {
	switch {
	case cmd.SGL.ID == tcp.SGLTransport:
		return tcp.StatusSuccess
	case cmd.SGL.ID != tcp.SGLInCapsule || !cmd.toTarget:
		return tcp.StatusSGLDescriptorType
	case cmd.SGL.Address != 0 || cmd.transfer > q.t.cfg.InCapsule:
		return tcp.StatusSGLOffset
	case cmd.transfer != q.r.DataLen():
		return tcp.StatusSGLDataLength
	}
	return tcp.StatusSuccess
}

func (q *queue) inRange(lba, blocks uint64) bool {
	size := q.ctrl.sub.blocks()
	return lba <= size && blocks <= size-lba
}

// work executes commands until the connection ends.
func (q *queue) work() {
	for {
		select {
		case cmd := <-q.ready:
			if !q.t.gate.wait(q.done) {
				return
			}
			if cmd.toTarget && !cmd.loaded {
				q.request(cmd)
				continue
			}
			q.perform(cmd)
		case <-q.done:
			return
		}
	}
}

// execute does what a command asks of the Storage.
func (q *queue) execute(cmd *command) tcp.Status {
	storage := q.ctrl.sub.storage
	off := int64(cmd.LBA()) << blockShift
	switch cmd.Opcode {
	case tcp.OpFlush:
		return writeStatus(storage.Sync())
	case tcp.OpRead:
		cmd.buf = q.t.pool.get(cmd.transfer)
		if n, err := storage.ReadAt(cmd.buf, off); n < len(cmd.buf) {
			q.t.cfg.Logger.Error("nvme read failed", "subsystem", q.ctrl.sub.nqn, "offset", off, "bytes", cmd.transfer, "error", err)
			return tcp.StatusUnrecoveredRead | tcp.DNR
		}
		cmd.data = cmd.buf
		return tcp.StatusSuccess
	case tcp.OpWrite:
		_, err := storage.WriteAt(cmd.buf, off)
		return q.wrote(cmd, off, int64(cmd.transfer), err)
	case tcp.OpWriteZeroes:
		n := int64(cmd.Blocks()) << blockShift
		return q.wrote(cmd, off, n, q.zero(storage, off, n))
	default: // check let nothing else pass
		return q.deallocate(cmd, storage)
	}
}

// wrote tells the journal of a change, makes it durable where the command asks for that, and
// returns the status.
func (q *queue) wrote(cmd *command, off, n int64, err error) tcp.Status {
	q.t.cfg.OnWrite(q.ctrl.sub.nqn, q.ctrl.hostNQN, off, n)
	if err == nil && cmd.FUA() {
		err = q.ctrl.sub.storage.Sync()
	}
	if err != nil && !errors.Is(err, errConnectionEnded) {
		q.t.cfg.Logger.Error("nvme write failed", "subsystem", q.ctrl.sub.nqn, "offset", off, "bytes", n, "error", err)
	}
	return writeStatus(err)
}

func writeStatus(err error) tcp.Status {
	switch {
	case err == nil:
		return tcp.StatusSuccess
	case errors.Is(err, syscall.ENOSPC):
		return tcp.StatusCapacity | tcp.DNR
	default:
		return tcp.StatusWriteFault | tcp.DNR
	}
}

// zero makes a range read as zeroes.
func (q *queue) zero(storage Storage, off, n int64) error {
	if z, ok := storage.(Zeroer); ok {
		if err := z.Zero(off, n); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	buf := q.t.pool.get(int(min(n, zeroChunk)))
	defer q.t.pool.put(buf)
	clear(buf)
	for n > 0 {
		if !q.t.gate.wait(q.done) {
			return errConnectionEnded
		}
		p := buf[:min(n, int64(len(buf)))]
		if _, err := storage.WriteAt(p, off); err != nil {
			return err
		}
		off += int64(len(p))
		n -= int64(len(p))
	}
	return nil
}

// zeroChunk is how many zeroes are written at a time, in bytes. Write Zeroes takes up to 32 MiB.
const zeroChunk = 256 << 10

var errConnectionEnded = errors.New("connection ended")

// deallocate frees the ranges of a Dataset Management command. Its other hints are ignored.
func (q *queue) deallocate(cmd *command, storage Storage) tcp.Status {
	if cmd.CDW11&tcp.DSMDeallocate == 0 {
		return tcp.StatusSuccess
	}
	discarder, ok := storage.(Discarder)
	ranges := int(cmd.CDW10&0xff) + 1
	for i := range ranges {
		r := tcp.ParseDSMRange(cmd.buf[i*tcp.DSMRangeLen:])
		if !q.inRange(r.LBA, uint64(r.Blocks)) {
			return tcp.StatusLBARange | tcp.DNR
		}
		if !ok || r.Blocks == 0 {
			continue
		}
		off, n := int64(r.LBA)<<blockShift, int64(r.Blocks)<<blockShift
		err := discarder.Discard(off, n)
		if errors.Is(err, errors.ErrUnsupported) {
			return tcp.StatusSuccess
		}
		if status := q.wrote(cmd, off, n, err); status != tcp.StatusSuccess {
			return status
		}
	}
	return tcp.StatusSuccess
}
