// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// A queue is one connection: a submission queue and its completion queue, with a goroutine that
// reads and one that writes. When either fails both end, and then every command in flight is
// answered with errLost.
type queue struct {
	id         uint16
	conn       net.Conn
	r          *tcp.Reader // the reader's
	w          *tcp.Writer // the writer's
	inCapsule  int         // bytes of data that a command may carry itself
	maxH2CData int         // bytes of data in one H2CData

	slots slots
	sends chan send // never full: see newQueue

	once    sync.Once     // of failing
	fell    func(error)   // tells the association
	down    chan struct{} // closed when the queue has failed
	written chan struct{} // closed when the writer has returned
	gone    chan struct{} // closed when both have, and every command is answered
}

// A send is something for the writer to do.
type send struct {
	command *command           // its capsule, or the data that request asks for
	request *tcp.R2T           // nil: the capsule
	fault   *tcp.ProtocolError // not nil: tell the target and end
}

// newQueue starts a queue on a connection that has been initialised. fell is called when the queue
// has failed, perhaps more than once; it must not wait for the queue.
func newQueue(w *wire, id uint16, depth, inCapsule int, fell func(error)) *queue {
	q := &queue{
		id: id, conn: w.conn, r: w.r, w: w.w, inCapsule: inCapsule, maxH2CData: w.maxH2CData,
		slots: newSlots(depth),
		// A command has its capsule and at most one R2T outstanding, and there is at most one fault.
		sends:   make(chan send, 2*depth+1),
		fell:    fell,
		down:    make(chan struct{}),
		written: make(chan struct{}),
		gone:    make(chan struct{}),
	}
	go q.write()
	go q.read()
	return q
}

// exec runs a command and waits for its answer: its completion, a *StatusError, errLost, or the
// context's error, after which the command and its data belong to the queue.
func (q *queue) exec(ctx context.Context, c *command) (tcp.Completion, error) {
	if err := q.start(ctx, c); err != nil {
		return tcp.Completion{}, err
	}
	select {
	case r := <-c.result:
		return r.completion, r.status(c.op)
	case <-ctx.Done():
		return tcp.Completion{}, ctx.Err()
	}
}

// start hands a command to the queue. After an error it has not, and will not be, seen by the
// target.
func (q *queue) start(ctx context.Context, c *command) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var cid uint16
	select {
	case cid = <-q.slots.free:
	case <-q.down:
		return errLost
	case <-ctx.Done():
		return ctx.Err()
	}
	c.refs.Store(2) // the answer and the capsule
	c.sqe.SGL = tcp.Transport(len(c.data))
	if !c.in && len(c.data) > 0 && len(c.data) <= q.inCapsule {
		c.sqe.SGL = tcp.InCapsule(len(c.data))
	}
	q.slots.put(cid, c)
	select {
	case <-q.down:
		// The queue fell before or while the command went in. Whoever takes it out answers for it.
		if q.slots.take(c) {
			return errLost
		}
	default:
		q.sends <- send{command: c}
	}
	return nil
}

// fail takes the queue down.
func (q *queue) fail(err error) {
	q.once.Do(func() {
		close(q.down)
		_ = q.conn.Close() // nothing can be done about its error, and nothing depends on it
	})
	q.fell(err)
}

// drain waits until no command is in flight, and lets none start any more.
func (q *queue) drain(ctx context.Context) error {
	for range cap(q.slots.free) {
		select {
		case <-q.slots.free:
		case <-q.down:
			return errLost
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// release lets go of a command for one reason that it was held; the last delivers its answer.
func (q *queue) release(c *command) {
	if c.refs.Add(-1) > 0 {
		return
	}
	if q.slots.take(c) {
		c.result <- c.answer
	}
}

// write is the writer: it sends what is in sends, and flushes when there is no more.
func (q *queue) write() {
	defer close(q.written)
	for {
		select {
		case s := <-q.sends:
			if err := q.send(s); err != nil {
				q.fail(fmt.Errorf("queue %d: send: %w", q.id, err))
				return
			}
		case <-q.down:
			return
		}
		if len(q.sends) > 0 {
			continue
		}
		if err := q.w.Flush(); err != nil {
			q.fail(fmt.Errorf("queue %d: send: %w", q.id, err))
			return
		}
	}
}

func (q *queue) send(s send) error {
	if s.fault != nil {
		// The error that ends the queue is the fault, whatever becomes of the message.
		_ = q.w.WritePDU(s.fault.TermReq(false), nil)
		_ = q.w.Flush()
		return foul(s.fault)
	}
	c := s.command
	defer q.release(c)
	if s.request != nil {
		return q.sendData(c, s.request)
	}
	var data []byte
	if c.sqe.SGL.ID == tcp.SGLInCapsule {
		data = c.data
	}
	return q.w.WritePDU(tcp.CapsuleCmd{Command: c.sqe}, data)
}

// sendData answers an R2T with as many H2CData as the target's limit makes necessary.
func (q *queue) sendData(c *command, r *tcp.R2T) error {
	for at, end := r.Offset, r.Offset+r.Length; at < end; {
		n := min(end-at, uint32(q.maxH2CData))
		p := tcp.H2CData{CID: r.CID, TTag: r.TTag, Offset: at, Length: n, Last: at+n == end}
		if err := q.w.WritePDU(p, c.data[at:at+n]); err != nil {
			return err
		}
		at += n
	}
	return nil
}

// read is the reader. It outlives the writer and answers what nobody else will.
func (q *queue) read() {
	defer close(q.gone)
	err := q.receive()
	var fault *tcp.ProtocolError
	if errors.As(err, &fault) {
		// The target is told why, as long as it listens.
		_ = q.conn.SetWriteDeadline(time.Now().Add(time.Second))
		q.sends <- send{fault: fault}
		<-q.written
	}
	q.fail(fmt.Errorf("queue %d: receive: %w", q.id, foul(err)))
	<-q.written
	for i := range q.slots.used {
		if c := q.slots.at(uint16(i)); c != nil && q.slots.take(c) {
			if !c.answered {
				c.answer = result{err: errLost}
			}
			c.result <- c.answer
		}
	}
}

// receive handles what the target sends until the connection ends.
func (q *queue) receive() error {
	for {
		pdu, err := q.r.ReadPDU()
		if err != nil {
			return err
		}
		switch p := pdu.(type) {
		case tcp.CapsuleResp:
			err = q.completed(p.Completion)
		case tcp.C2HData:
			err = q.incoming(p)
		case tcp.R2T:
			err = q.requested(p)
		case tcp.TermReq:
			err = fmt.Errorf("%w: the target ended the connection: %v", ErrProtocol, p.Status)
		default:
			err = q.r.Fault(tcp.FatalSequence, 0, "unexpected %v", pdu.Type())
		}
		if err != nil {
			return err
		}
	}
}

// command returns the command that a PDU belongs to.
func (q *queue) command(cid uint16, t tcp.Type) (*command, error) {
	c := q.slots.at(cid)
	if c == nil || c.answered {
		return nil, q.r.Fault(tcp.FatalHeaderField, 8, "%v for command ID %d, which is not in flight", t, cid)
	}
	return c, nil
}

func (q *queue) completed(answer tcp.Completion) error {
	c, err := q.command(answer.CID, tcp.TypeCapsuleResp)
	if err != nil {
		return err
	}
	return q.conclude(c, answer)
}

// conclude takes the answer to a command. Success without all of the data is not believed.
func (q *queue) conclude(c *command, answer tcp.Completion) error {
	if answer.Status.Err() == nil {
		switch {
		case c.moved < len(c.data) && c.sqe.SGL.ID != tcp.SGLInCapsule:
			return q.r.Fault(tcp.FatalSequence, 0, "%s succeeded after %d of %d bytes", c.op, c.moved, len(c.data))
		case c.corrupt:
			answer.Status = tcp.StatusTransientTransport
		}
	}
	c.answered, c.answer = true, result{completion: answer}
	q.release(c)
	return nil
}

// incoming takes data of a command, which must come in order.
func (q *queue) incoming(p tcp.C2HData) error {
	c, err := q.command(p.CID, tcp.TypeC2HData)
	if err != nil {
		return err
	}
	if !c.in || uint64(p.Offset) != uint64(c.moved) || uint64(p.Offset)+uint64(p.Length) > uint64(len(c.data)) {
		return q.r.Fault(tcp.FatalOutOfRange, 0, "C2HData of %d bytes at %d of %s, %d of %d bytes there", p.Length, p.Offset, c.op, c.moved, len(c.data))
	}
	err = q.r.ReadData(c.data[c.moved : c.moved+int(p.Length)])
	if errors.Is(err, tcp.ErrDataDigest) {
		c.corrupt, err = true, nil
	}
	if err != nil {
		return err
	}
	c.moved += int(p.Length)
	if p.Success && p.Last {
		return q.conclude(c, tcp.Completion{CID: p.CID})
	}
	return nil
}

// requested lets the writer send the data that the target asks for, which must be in order.
func (q *queue) requested(p tcp.R2T) error {
	c, err := q.command(p.CID, tcp.TypeR2T)
	if err != nil {
		return err
	}
	end := uint64(p.Offset) + uint64(p.Length)
	if c.in || c.sqe.SGL.ID == tcp.SGLInCapsule || p.Length == 0 || uint64(p.Offset) != uint64(c.moved) || end > uint64(len(c.data)) {
		return q.r.Fault(tcp.FatalOutOfRange, 0, "R2T of %d bytes at %d of %s, %d of %d bytes asked for", p.Length, p.Offset, c.op, c.moved, len(c.data))
	}
	// One R2T at a time (MAXR2T). Its data may have arrived before the writer has let go of it.
	if c.refs.Load() > 2 {
		return q.r.Fault(tcp.FatalLimit, 0, "more than one R2T outstanding for %s", c.op)
	}
	c.moved = int(end)
	c.refs.Add(1)
	q.sends <- send{command: c, request: &p}
	return nil
}
