// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// Why a connection ended, for the log.
var (
	errAdminGone = errors.New("admin queue ended")
	errKeepAlive = errors.New("keep alive expired")
	errReset     = errors.New("controller reset")
	errTermReq   = errors.New("host terminated the connection")
)

// A queue is one connection: a submission and a completion queue once its Connect succeeded.
type queue struct {
	t        *Target
	port     *Port
	conn     net.Conn
	done     chan struct{}  // closed by end
	finished chan struct{}  // closed by run, after the queue was detached
	workers  sync.WaitGroup // every goroutine but run's own
	endOnce  sync.Once
	cause    error // why it ended, set by end

	// Set by the reader at Connect, before any worker starts.
	ctrl *controller
	qid  uint16

	r     *tcp.Reader   // the reader's
	w     *tcp.Writer   // the writer's
	out   chan outgoing // to the writer; room for all that can be outstanding
	ready chan *command // to the workers; room for all that can be outstanding

	mu          sync.Mutex
	entries     int                 // of the submission queue; 0 before Connect
	noFlow      bool                // submission queue flow control is disabled
	head        int                 // of the submission queue
	inflight    map[uint16]*command // by CID
	outstanding int                 // commands received and not answered
	pending     []*command          // wait for a buffer, in order
	buffered    int                 // bytes of buffers in use
}

// An outgoing is what the writer sends: a PDU, or else the response to a command.
type outgoing struct {
	pdu tcp.PDU
	cmd *command
}

// preConnect is how many commands may be outstanding before Connect was answered.
const preConnect = 2

// limit returns how many commands may be outstanding: twice the entries, as hosts differ in when
// they take a slot for free. It is called under mu.
func (q *queue) limit() int { return max(2*q.entries, preConnect) }

func newQueue(t *Target, p *Port, conn net.Conn) *queue {
	room := 2*t.cfg.QueueSize + preConnect
	return &queue{
		t: t, port: p, conn: conn, done: make(chan struct{}), finished: make(chan struct{}),
		r:        tcp.NewReader(conn, tcp.Limits{MaxInCapsule: adminInCapsule, MaxData: t.cfg.MaxH2CData}),
		w:        tcp.NewWriter(conn),
		out:      make(chan outgoing, 2*room), // an R2T and a response for each command
		ready:    make(chan *command, room),
		inflight: make(map[uint16]*command),
	}
}

// run serves the connection until it ends, and returns when nothing of it is left.
func (q *queue) run() {
	defer close(q.finished)
	q.workers.Go(q.writeLoop)
	err := q.readLoop()
	if fault := (*tcp.ProtocolError)(nil); errors.As(err, &fault) {
		q.terminate(fault)
	}
	q.end(err)
	q.workers.Wait()
	q.log()
	q.t.detach(q)
}

// end closes the connection. The first cause stays.
func (q *queue) end(cause error) {
	q.endOnce.Do(func() {
		q.cause = cause
		close(q.done)
		_ = q.conn.Close() // nobody waits for its outcome
	})
}

func (q *queue) log() {
	attrs := []any{"port", q.port.id, "peer", q.conn.RemoteAddr(), "cause", q.cause}
	if q.ctrl != nil {
		attrs = append(attrs, "subsystem", q.ctrl.sub.nqn, "host", q.ctrl.hostNQN, "cntlid", q.ctrl.id, "qid", q.qid)
	}
	if fault := (*tcp.ProtocolError)(nil); errors.As(q.cause, &fault) {
		q.t.cfg.Logger.Warn("nvme connection terminated", attrs...)
		return
	}
	q.t.cfg.Logger.Debug("nvme connection ended", attrs...)
}

// lingerTime is how long a terminated connection stays, so that the host can read why.
const lingerTime = time.Second

// terminate tells the host of its fatal error (Transport 1.0, 3.5 "Error Processing Model").
func (q *queue) terminate(fault *tcp.ProtocolError) {
	if q.conn.SetDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	q.send(outgoing{pdu: fault.TermReq(true)})
	// Closing with unread bytes would reset the connection and lose the request on its way.
	_, _ = io.Copy(io.Discard, q.conn)
}

// readLoop reads PDUs until the connection ends. It returns nil where the host closed it.
func (q *queue) readLoop() error {
	if err := q.conn.SetReadDeadline(time.Now().Add(q.t.cfg.HandshakeTimeout)); err != nil {
		return err
	}
	if err := q.initialize(); err != nil {
		return q.orderly(err)
	}
	for {
		pdu, err := q.r.ReadPDU()
		if err != nil {
			return q.orderly(err)
		}
		if !q.t.gate.wait(q.done) {
			return nil
		}
		switch pdu := pdu.(type) {
		case tcp.CapsuleCmd:
			err = q.command(pdu.Command)
		case tcp.H2CData:
			err = q.receive(pdu)
		case tcp.TermReq:
			if pdu.FromController {
				err = q.r.Fault(tcp.FatalHeaderField, 0, "%v from a host", pdu.Type())
				break
			}
			err = errTermReq
		case tcp.ICReq:
			err = q.r.Fault(tcp.FatalSequence, 0, "a second ICReq")
		default:
			err = q.r.Fault(tcp.FatalHeaderField, 0, "%v from a host", pdu.Type())
		}
		if err != nil {
			return q.orderly(err)
		}
	}
}

// orderly turns the host's closing of the connection into no error.
func (q *queue) orderly(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("handshake timed out")
	}
	return err
}

// initialize answers the ICReq.
func (q *queue) initialize() error {
	pdu, err := q.r.ReadPDU()
	if err != nil {
		return err
	}
	if !q.t.gate.wait(q.done) {
		return nil
	}
	req, ok := pdu.(tcp.ICReq)
	switch {
	case !ok:
		return q.r.Fault(tcp.FatalSequence, 0, "%v before ICReq", pdu.Type())
	case req.PFV != 0:
		return q.r.Fault(tcp.FatalUnsupported, 8, "ICReq with PFV %d", req.PFV)
	case req.HPDA > tcp.MaxAlign:
		return q.r.Fault(tcp.FatalUnsupported, 10, "ICReq with HPDA %d", req.HPDA)
	}
	digest := req.Digest & (tcp.HeaderDigest | tcp.DataDigest)
	q.r.Negotiated(digest)
	q.send(outgoing{pdu: initialized{tcp.ICResp{Digest: digest, MaxH2CData: uint32(q.t.cfg.MaxH2CData)}, req.HPDA}})
	return nil
}

// initialized is the ICResp with the alignment that its writer applies from then on.
type initialized struct {
	tcp.ICResp
	align uint8
}

// command takes a command from the host. An error ends the connection.
func (q *queue) command(c tcp.Command) error {
	cmd := &command{Command: c}
	q.mu.Lock()
	q.outstanding++
	limit := q.limit()
	over := q.outstanding > limit
	_, twice := q.inflight[c.CID]
	if !twice {
		q.inflight[c.CID] = cmd
	}
	q.mu.Unlock()
	switch {
	case over:
		return q.r.Fault(tcp.FatalSequence, 0, "more than %d commands outstanding", limit)
	case twice:
		q.fail(cmd, tcp.StatusCIDConflict|tcp.DNR)
	case c.Flags != tcp.FlagSGL:
		q.fail(cmd, tcp.StatusInvalidField|tcp.DNR)
	case c.Opcode == tcp.OpFabrics:
		return q.fabrics(cmd)
	case q.ctrl == nil || !q.ctrl.ready.Load():
		q.fail(cmd, tcp.StatusSequence|tcp.DNR)
	case q.qid == 0:
		q.ctrl.touch()
		q.admin(cmd)
	default:
		q.ctrl.touch()
		return q.io(cmd)
	}
	return nil
}

// send passes something to the writer. It blocks only where the host takes no answers.
func (q *queue) send(o outgoing) {
	select {
	case q.out <- o:
	case <-q.done:
	}
}

// answer completes a command with what its reply holds.
func (q *queue) answer(cmd *command) { q.send(outgoing{cmd: cmd}) }

func (q *queue) sendAll(list []*command) {
	for _, cmd := range list {
		q.answer(cmd)
	}
}

// fail completes a command with a status and without data.
func (q *queue) fail(cmd *command, status tcp.Status) {
	cmd.reply.Status = status
	q.answer(cmd)
}
