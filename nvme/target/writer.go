// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import "github.com/rds-csi/rds-csi/nvme/tcp"

// writeLoop sends what the reader and the workers pass on, until the connection ends.
func (q *queue) writeLoop() {
	for {
		select {
		case o := <-q.out:
			if !q.t.gate.wait(q.done) {
				return
			}
			if err := q.write(o); err != nil {
				q.end(err)
				return
			}
			if _, last := o.pdu.(tcp.TermReq); last {
				return // the reader closes the connection
			}
			if len(q.out) > 0 {
				continue // more fits into the same segment
			}
			if err := q.w.Flush(); err != nil {
				q.end(err)
				return
			}
		case <-q.done:
			return
		}
	}
}

func (q *queue) write(o outgoing) error {
	switch pdu := o.pdu.(type) {
	case nil:
		return q.respond(o.cmd)
	case initialized:
		if err := q.w.WritePDU(pdu.ICResp, nil); err != nil {
			return err
		}
		q.w.Negotiated(pdu.Digest, pdu.align)
		return nil
	case tcp.TermReq:
		if err := q.w.WritePDU(pdu, nil); err != nil {
			return err
		}
		if err := q.w.Flush(); err != nil {
			return err
		}
		if half, ok := q.conn.(interface{ CloseWrite() error }); ok {
			return half.CloseWrite()
		}
		return nil
	default:
		return q.w.WritePDU(pdu, nil)
	}
}

// respond sends the data of a command, if it has any for the host, and its completion.
func (q *queue) respond(cmd *command) error {
	defer q.release(cmd)
	cqe := cmd.reply
	cqe.CID = cmd.CID
	var noFlow bool
	cqe.SQHD, noFlow = q.retire(cmd) // from here on the host may use the CID again
	if len(cmd.data) > 0 && cqe.Status == tcp.StatusSuccess {
		data := tcp.C2HData{CID: cmd.CID, Length: uint32(len(cmd.data)), Last: true, Success: noFlow}
		if err := q.w.WritePDU(data, cmd.data); err != nil || data.Success {
			return err
		}
	}
	return q.w.WritePDU(tcp.CapsuleResp{Completion: cqe}, nil)
}
