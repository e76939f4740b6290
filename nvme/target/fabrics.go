// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// fabrics executes a Fabrics command. An error ends the connection.
func (q *queue) fabrics(cmd *command) error {
	switch {
	case q.ctrl == nil && cmd.FabricsType() == tcp.FabricsConnect:
		return q.connect(cmd)
	case q.ctrl == nil || cmd.FabricsType() == tcp.FabricsConnect:
		q.fail(cmd, tcp.StatusSequence|tcp.DNR)
		return nil
	}
	q.ctrl.touch()
	property, sized := cmd.Property()
	switch {
	case q.qid != 0:
		q.fail(cmd, tcp.StatusInvalidOpcode|tcp.DNR)
	case cmd.FabricsType() == tcp.FabricsPropertyGet:
		value, ok := q.ctrl.property(property)
		if !ok || !sized {
			q.fail(cmd, tcp.StatusInvalidField|tcp.DNR)
			break
		}
		cmd.reply.DW0, cmd.reply.DW1 = uint32(value), uint32(value>>32)
		q.answer(cmd)
	case cmd.FabricsType() == tcp.FabricsPropertySet:
		if property.Offset != tcp.PropCC || property.Wide || !sized {
			q.fail(cmd, tcp.StatusInvalidField|tcp.DNR)
			break
		}
		q.configure(cmd, uint32(property.Value))
	default:
		q.fail(cmd, tcp.StatusInvalidOpcode|tcp.DNR)
	}
	return nil
}

// configure sets the CC property.
func (q *queue) configure(cmd *command, cc uint32) {
	set := func(Fault) {
		if q.ctrl.configure(cc) {
			q.ctrl.endIO()
		}
		q.answer(cmd)
	}
	if cc&tcp.CCShutdownMask != 0 {
		q.aside(cmd, OperationShutdown, set)
		return
	}
	set(Fault{})
}

// endIO ends the I/O queues of a controller that was reset and waits for them, so that no command
// from before reaches the Storage when the host is told.
func (c *controller) endIO() {
	c.t.mu.Lock()
	var queues []*queue
	for qid, q := range c.queues {
		if qid != 0 {
			queues = append(queues, q)
		}
	}
	c.t.mu.Unlock()
	for _, q := range queues {
		q.end(errReset)
	}
	for _, q := range queues {
		<-q.finished
	}
}

// connect executes Fabrics Connect. An error ends the connection; a refusal is answered.
func (q *queue) connect(cmd *command) error {
	if cmd.SGL.ID != tcp.SGLInCapsule || cmd.SGL.Address != 0 || q.r.DataLen() != tcp.ConnectDataLen ||
		cmd.SGL.Length != tcp.ConnectDataLen {
		q.fail(cmd, tcp.StatusSGLDataLength|tcp.DNR)
		return nil
	}
	cmd.transfer = tcp.ConnectDataLen
	switch err := q.takeCapsule(cmd); {
	case errors.Is(err, tcp.ErrDataDigest):
		q.fail(cmd, tcp.StatusTransientTransport)
		return nil
	case err != nil:
		return err
	}
	data, err := tcp.ParseConnectData(cmd.buf)
	if err != nil {
		q.fail(cmd, tcp.StatusInvalidField|tcp.DNR)
		return nil //nolint:nilerr // the command failed and was answered; the connection goes on
	}
	c := cmd.Connect()
	if c.QID == 0 && !q.survives(cmd, q.t.cfg.Fault(Request{Subsystem: data.SubNQN, Host: data.HostNQN, Operation: OperationConnect})) {
		return nil
	}
	ctrl, no := q.t.admit(q, c, data)
	if no != nil {
		q.t.cfg.Logger.Warn("nvme connect refused", "port", q.port.id, "peer", q.conn.RemoteAddr(),
			"subsystem", data.SubNQN, "host", data.HostNQN, "qid", c.QID, "status", no.status)
		cmd.reply.DW0 = no.where
		q.fail(cmd, no.status)
		return nil
	}
	if err := q.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if c.QID == 0 {
		if !ctrl.sub.discovery {
			ctrl.began = ctrl.sub.blocks()
		}
		q.t.cfg.OnConnect(ControllerInfo{
			Subsystem: ctrl.sub.nqn, HostNQN: ctrl.hostNQN, HostID: ctrl.hostID, CNTLID: ctrl.id, Port: q.port.id, Queues: 1,
		})
		ctrl.setKeepAlive(keepAlive(c.KATO, ctrl.sub.discovery))
	} else {
		ctrl.touch()
		for range q.t.cfg.Workers {
			q.workers.Go(q.work)
		}
	}
	cmd.reply.DW0 = uint32(ctrl.id)
	q.answer(cmd)
	return nil
}

// keepAliveUnit is the granularity of keep-alive timeouts, which KAS tells in units of 100 ms.
const keepAliveUnit = time.Second

// discoveryKeepAlive ends discovery controllers that were forgotten.
const discoveryKeepAlive = 2 * time.Minute

// keepAlive returns the timeout that a host asks for, in ms, rounded up to the granularity.
func keepAlive(kato uint32, discovery bool) time.Duration {
	if kato == 0 && discovery {
		return discoveryKeepAlive
	}
	d := time.Duration(kato) * time.Millisecond
	if rest := d % keepAliveUnit; rest > 0 {
		d += keepAliveUnit - rest
	}
	return d
}

// A refusal is why a Connect fails.
type refusal struct {
	status tcp.Status
	where  uint32 // the invalid parameter
}

// admit checks a Connect and, where it is legal, makes the queue part of a controller.
func (t *Target) admit(q *queue, c tcp.Connect, d tcp.ConnectData) (*controller, *refusal) {
	if c.RecFmt != 0 {
		return nil, &refusal{status: tcp.StatusConnectFormat | tcp.DNR}
	}
	if c.SQSize == 0 || int(c.SQSize) >= t.cfg.QueueSize {
		return nil, t.invalid(false, connectOffSQSize)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.subsystems[d.SubNQN]
	switch {
	case d.SubNQN == tcp.DiscoveryNQN:
		s = t.discovery
	case s == nil || !q.port.links[d.SubNQN]:
		return nil, t.invalid(true, tcp.ConnectOffSubNQN)
	}
	admit := t.admitAdmin
	if c.QID != 0 {
		admit = t.admitIO
	}
	ctrl, no := admit(q, s, c, d)
	if no != nil {
		return nil, no
	}
	ctrl.queues[c.QID] = q
	q.ctrl, q.qid = ctrl, c.QID
	q.mu.Lock()
	defer q.mu.Unlock()
	q.entries, q.noFlow = int(c.SQSize)+1, c.Attributes&tcp.ConnectNoFlowControl != 0
	return ctrl, nil
}

// Offsets in the Connect command, for refusals.
const (
	connectOffQID    = 42
	connectOffSQSize = 44
)

// invalid refuses a parameter at an offset in the Connect command or its data.
func (t *Target) invalid(inData bool, offset uint16) *refusal {
	return &refusal{t.cfg.refusal(tcp.StatusConnectInvalid), tcp.ConnectRefusal(inData, offset)}
}

// admitAdmin makes a new controller. It is called under mu.
func (t *Target) admitAdmin(q *queue, s *subsystem, _ tcp.Connect, d tcp.ConnectData) (*controller, *refusal) {
	hostID := uuid.UUID(d.HostID)
	switch {
	case d.CNTLID != tcp.AnyController: // only the dynamic controller model
		return nil, t.invalid(true, tcp.ConnectOffCNTLID)
	case d.HostNQN == "":
		return nil, t.invalid(true, tcp.ConnectOffHostNQN)
	case hostID == uuid.Nil && !s.discovery:
		return nil, t.invalid(true, tcp.ConnectOffHostID)
	case !s.allows(d.HostNQN):
		return nil, &refusal{t.cfg.refusal(tcp.StatusConnectHost), tcp.ConnectRefusal(true, tcp.ConnectOffHostNQN)}
	}
	id, ok := t.nextCNTLID(s)
	if !ok {
		return nil, &refusal{status: tcp.StatusConnectBusy}
	}
	c := &controller{
		t: t, sub: s, port: q.port, id: id, hostNQN: d.HostNQN, hostID: hostID,
		gone: make(chan struct{}), queues: make(map[uint16]*queue), events: newEvents(),
	}
	s.controllers[id] = c
	return c, nil
}

// admitIO finds the controller of an I/O queue: the one with the CNTLID, if it is this host's. The
// allow list is not asked again. It is called under mu.
func (t *Target) admitIO(q *queue, s *subsystem, c tcp.Connect, d tcp.ConnectData) (*controller, *refusal) {
	ctrl := s.controllers[d.CNTLID]
	switch {
	case ctrl == nil || ctrl.ending || ctrl.port != q.port || ctrl.hostNQN != d.HostNQN || ctrl.hostID != uuid.UUID(d.HostID):
		return nil, t.invalid(true, tcp.ConnectOffCNTLID)
	case !ctrl.ready.Load():
		return nil, &refusal{status: tcp.StatusSequence | tcp.DNR}
	case s.discovery || int(c.QID) > t.cfg.IOQueues:
		return nil, t.invalid(false, connectOffQID)
	case ctrl.queues[c.QID] != nil:
		return nil, &refusal{status: tcp.StatusSequence | tcp.DNR}
	}
	return ctrl, nil
}

// maxCNTLID is the highest ID of a controller (Base 2.0, 5.17.2.1).
const maxCNTLID = 0xffef

// nextCNTLID returns an ID that is not in use, and was not for as long as possible: an I/O queue
// of an older controller must not meet a newer one. It is called under mu.
func (t *Target) nextCNTLID(s *subsystem) (uint16, bool) {
	for range maxCNTLID {
		t.lastCNTLID = t.lastCNTLID%maxCNTLID + 1
		if s.controllers[t.lastCNTLID] == nil {
			return t.lastCNTLID, true
		}
	}
	return 0, false
}
