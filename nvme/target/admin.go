// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"time"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// admin executes a command of the admin queue.
func (q *queue) admin(cmd *command) {
	var status tcp.Status
	switch cmd.Opcode {
	case tcp.OpIdentify:
		if uint8(cmd.CDW10) == tcp.CNSNamespace && !q.ctrl.sub.discovery {
			q.aside(cmd, OperationIdentify, func(f Fault) { q.complete(cmd, q.identifyNamespace(cmd, f)) })
			return
		}
		status = q.identify(cmd)
	case tcp.OpGetLogPage:
		status = q.logPage(cmd)
	case tcp.OpSetFeatures:
		status = q.setFeatures(cmd)
	case tcp.OpGetFeatures:
		status = q.getFeatures(cmd)
	case tcp.OpKeepAlive:
	case tcp.OpAsyncEventReq:
		if q.ctrl.await(q, cmd) {
			return
		}
		status = tcp.StatusAERLimit
	case tcp.OpAbort:
		if q.abortAny(uint16(cmd.CDW10), uint16(cmd.CDW10>>16)) {
			break
		}
		cmd.reply.DW0 = 1 // not aborted
	default:
		status = tcp.StatusInvalidOpcode
	}
	q.complete(cmd, status)
}

// complete answers a command of the admin queue. What failed is not to be tried again.
func (q *queue) complete(cmd *command, status tcp.Status) {
	if status != tcp.StatusSuccess {
		q.fail(cmd, status|tcp.DNR)
		return
	}
	q.answer(cmd)
}

// abortAny aborts a command of any of the controller's queues, if that can be done at once.
func (q *queue) abortAny(sqid, cid uint16) bool {
	if sqid == 0 {
		return q.ctrl.abortAwait(q, cid)
	}
	q.t.mu.Lock()
	target := q.ctrl.queues[sqid]
	q.t.mu.Unlock()
	return target != nil && target.abort(cid)
}

// reply sets the data of a command for the host. The host's buffer must be as long.
func (cmd *command) give(data []byte) tcp.Status {
	switch {
	case cmd.SGL.ID != tcp.SGLTransport:
		return tcp.StatusSGLDescriptorType
	case int64(cmd.SGL.Length) != int64(len(data)):
		return tcp.StatusSGLDataLength
	}
	cmd.data = data
	return tcp.StatusSuccess
}

func (q *queue) setFeatures(cmd *command) tcp.Status {
	c := q.ctrl
	switch uint8(cmd.CDW10) {
	case tcp.FeatureNumberOfQueues:
		if c.sub.discovery {
			return tcp.StatusInvalidField
		}
		cmd.reply.DW0 = q.numberOfQueues()
	case tcp.FeatureAsyncEvents:
		if cmd.CDW11&^c.oaes() != 0 {
			return tcp.StatusInvalidField
		}
		c.mu.Lock()
		c.events.enabled = cmd.CDW11
		c.mu.Unlock()
	case tcp.FeatureKeepAlive:
		c.setKeepAlive(keepAlive(cmd.CDW11, c.sub.discovery))
	case tcp.FeatureHostIdentifier:
		return tcp.StatusSequence // told by Connect, for good
	default:
		return tcp.StatusInvalidField
	}
	return tcp.StatusSuccess
}

func (q *queue) getFeatures(cmd *command) tcp.Status {
	c := q.ctrl
	c.mu.Lock()
	enabled, kato := c.events.enabled, c.kato
	c.mu.Unlock()
	switch uint8(cmd.CDW10) {
	case tcp.FeatureNumberOfQueues:
		if c.sub.discovery {
			return tcp.StatusInvalidField
		}
		cmd.reply.DW0 = q.numberOfQueues()
	case tcp.FeatureAsyncEvents:
		cmd.reply.DW0 = enabled & c.oaes()
	case tcp.FeatureKeepAlive:
		cmd.reply.DW0 = uint32(kato / time.Millisecond)
	case tcp.FeatureWriteCache:
		if c.sub.discovery {
			return tcp.StatusInvalidField
		}
		cmd.reply.DW0 = 1
	case tcp.FeatureHostIdentifier:
		if cmd.CDW11&1 == 0 { // over fabrics the identifier has 128 bits
			return tcp.StatusInvalidField
		}
		return cmd.give(c.hostID[:])
	default:
		return tcp.StatusInvalidField
	}
	return tcp.StatusSuccess
}

// numberOfQueues returns how many I/O queues there may be, whatever the host asked for: submission
// and completion queues, zero-based.
func (q *queue) numberOfQueues() uint32 {
	n := uint32(q.t.cfg.IOQueues - 1)
	return n | n<<16
}
