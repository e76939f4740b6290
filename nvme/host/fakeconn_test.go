// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"net"
	"sync"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// A fakeConn is one queue of a fake.
type fakeConn struct {
	f      *fake
	conn   net.Conn
	r      *tcp.Reader
	qid    uint16
	ready  bool
	writes map[uint16]*fakeWrite // waiting for data

	wmu sync.Mutex
	w   *tcp.Writer
}

type fakeWrite struct {
	cmd  tcp.Command
	data []byte
	got  int
}

// serve answers until the connection ends.
func (c *fakeConn) serve() {
	pdu, err := c.r.ReadPDU()
	if err != nil {
		return
	}
	req, ok := pdu.(tcp.ICReq)
	if !ok {
		return
	}
	c.thawed()
	resp := c.f.resp
	resp.Digest = req.Digest & c.f.offer
	c.send(resp, nil)
	c.r.Negotiated(resp.Digest)
	c.w.Negotiated(resp.Digest, 0)
	for {
		pdu, err := c.r.ReadPDU()
		if err != nil {
			return
		}
		data := make([]byte, c.r.DataLen())
		if err := c.r.ReadData(data); err != nil {
			return
		}
		c.thawed()
		switch p := pdu.(type) {
		case tcp.CapsuleCmd:
			c.command(p.Command, data)
		case tcp.H2CData:
			c.data(p, data)
		case tcp.TermReq:
			c.f.set(func() { c.f.term = append(c.f.term, p) })
			return
		}
	}
}

// thawed waits while the fake is frozen.
func (c *fakeConn) thawed() {
	c.f.mu.Lock()
	frozen := c.f.frozen
	c.f.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

func (c *fakeConn) send(p tcp.PDU, data []byte) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	// A connection that is gone is noticed by the reader.
	_ = c.w.WritePDU(p, data)
	_ = c.w.Flush()
}

func (c *fakeConn) answer(cmd tcp.Command, status tcp.Status, result uint64) {
	c.send(tcp.CapsuleResp{Completion: tcp.Completion{CID: cmd.CID, Status: status, DW0: uint32(result), DW1: uint32(result >> 32)}}, nil)
}

// reply sends data, in PDUs of 4 KiB, and success.
func (c *fakeConn) reply(cmd tcp.Command, data []byte) {
	data = data[:min(len(data), int(cmd.SGL.Length))]
	for at := 0; at < len(data); at += 4096 {
		part := data[at:min(at+4096, len(data))]
		last := at+len(part) == len(data)
		c.send(tcp.C2HData{CID: cmd.CID, Offset: uint32(at), Length: uint32(len(part)), Last: last, Success: last && c.f.success}, part)
	}
	if !c.f.success {
		c.answer(cmd, tcp.StatusSuccess, 0)
	}
}

func (c *fakeConn) command(cmd tcp.Command, data []byte) {
	c.f.set(func() { c.f.seen = append(c.f.seen, cmd) })
	if c.f.intercept != nil && c.f.intercept(c, cmd) {
		return
	}
	switch {
	case cmd.Opcode == tcp.OpFabrics:
		c.fabrics(cmd, data)
	case !c.ready:
		c.answer(cmd, tcp.StatusSequence|tcp.DNR, 0)
	case c.qid == 0:
		c.admin(cmd)
	default:
		c.io(cmd, data)
	}
}

func (c *fakeConn) fabrics(cmd tcp.Command, data []byte) {
	f := c.f
	f.mu.Lock()
	defer f.mu.Unlock()
	switch cmd.FabricsType() {
	case tcp.FabricsConnect:
		d, err := tcp.ParseConnectData(data)
		if err != nil {
			go c.answer(cmd, tcp.StatusInvalidField|tcp.DNR, 0)
			return
		}
		connect := cmd.Connect()
		if f.connect != 0 {
			c.later(func() { c.answer(cmd, f.connect, 0) })
			return
		}
		c.qid, c.ready = connect.QID, true
		f.sqsize = append(f.sqsize, connect.SQSize)
		if c.qid == 0 {
			f.nextCtrl++
			f.kato, f.hostID, f.masked = connect.KATO, d.HostID, false
		}
		id := f.nextCtrl
		c.later(func() { c.answer(cmd, 0, uint64(id)) })
	case tcp.FabricsPropertySet:
		p, _ := cmd.Property()
		f.cc = p.Value
		c.later(func() { c.answer(cmd, 0, 0) })
	case tcp.FabricsPropertyGet:
		p, _ := cmd.Property()
		v := f.caps.Uint64()
		if p.Offset == tcp.PropCSTS {
			v = f.cc & tcp.CCEnable
			if f.cc&tcp.CCShutdownMask != 0 {
				v |= tcp.CSTSShutdownComplete
			}
		}
		c.later(func() { c.answer(cmd, 0, v) })
	}
}

// later runs what must not hold the fake's lock: the host may be slow to read.
func (c *fakeConn) later(do func()) { c.f.wg.Go(do) }

func (c *fakeConn) admin(cmd tcp.Command) {
	f := c.f
	f.mu.Lock()
	var data []byte
	switch cmd.Opcode {
	case tcp.OpSetFeatures:
		n := uint64(f.queues - 1)
		f.mu.Unlock()
		c.answer(cmd, 0, n|n<<16)
		return
	case tcp.OpAsyncEventReq:
		f.aers = append(f.aers, func(e tcp.AsyncEvent) { c.answer(cmd, 0, uint64(e.Uint32())) })
		f.mu.Unlock()
		return
	case tcp.OpKeepAlive:
		f.mu.Unlock()
		c.answer(cmd, 0, 0)
		return
	case tcp.OpGetLogPage:
		data = make([]byte, tcp.ChangedNSLogLen)
		page := cmd.LogPage()
		f.masked = f.masked && page.ID != tcp.LogChangedNS
		if page.ID == tcp.LogDiscovery {
			all := tcp.AppendDiscoveryLog(nil, f.generation, f.log)
			if f.moving {
				f.generation++
			}
			data = all[page.Offset : int(page.Offset)+page.Length]
		}
	case tcp.OpIdentify:
		data = c.identify(cmd)
	}
	f.mu.Unlock()
	c.reply(cmd, data)
}

// identify returns the data of Identify. The fake's lock is held.
func (c *fakeConn) identify(cmd tcp.Command) []byte {
	f := c.f
	switch cmd.CDW10 & 0xff {
	case tcp.CNSController:
		id := f.identity
		if id.CNTLID == 0 {
			id.CNTLID = f.nextCtrl
		}
		return id.Append(nil)
	case tcp.CNSActiveNamespaces:
		var ids []uint32
		for _, id := range f.nsids {
			if id > cmd.NSID {
				ids = append(ids, id)
			}
		}
		return tcp.AppendNamespaceList(nil, ids...)
	case tcp.CNSNamespace:
		return f.ns.Append(nil)
	case tcp.CNSDescriptors:
		return f.ids.Append(nil)
	}
	return nil
}

func (c *fakeConn) io(cmd tcp.Command, data []byte) {
	f := c.f
	n := int(cmd.SGL.Length)
	switch cmd.Opcode {
	case tcp.OpRead:
		f.mu.Lock()
		off := int(cmd.LBA()) * 512
		if off+n > len(f.disk) {
			f.mu.Unlock()
			c.answer(cmd, tcp.StatusLBARange|tcp.DNR, 0)
			return
		}
		data := append([]byte(nil), f.disk[off:off+n]...)
		f.mu.Unlock()
		c.reply(cmd, data)
	case tcp.OpWrite:
		if cmd.SGL.ID == tcp.SGLInCapsule {
			c.store(cmd, data)
			return
		}
		w := &fakeWrite{cmd: cmd, data: make([]byte, n)}
		c.writes[cmd.CID] = w
		c.ask(w)
	case tcp.OpWriteZeroes:
		c.store(cmd, make([]byte, cmd.Blocks()*512))
	case tcp.OpDSM:
		r := tcp.ParseDSMRange(data)
		c.store(tcp.Command{CID: cmd.CID, CDW10: uint32(r.LBA)}, make([]byte, int(r.Blocks)*512))
	default:
		c.answer(cmd, 0, 0)
	}
}

// ask sends the next R2T.
func (c *fakeConn) ask(w *fakeWrite) {
	n := min(c.f.r2t, len(w.data)-w.got)
	c.send(tcp.R2T{CID: w.cmd.CID, TTag: w.cmd.CID + 1, Offset: uint32(w.got), Length: uint32(n)}, nil)
}

// data takes what an R2T asked for.
func (c *fakeConn) data(p tcp.H2CData, data []byte) {
	w := c.writes[p.CID]
	if w == nil {
		return // an intercept asked for it
	}
	if int(p.Offset) != w.got || p.TTag != p.CID+1 || p.Length > c.f.resp.MaxH2CData {
		_ = c.conn.Close()
		return
	}
	w.got += copy(w.data[w.got:], data)
	switch {
	case w.got == len(w.data):
		delete(c.writes, p.CID)
		c.store(w.cmd, w.data)
	case p.Last:
		c.ask(w)
	}
}

// store writes to the disk and answers.
func (c *fakeConn) store(cmd tcp.Command, data []byte) {
	c.f.set(func() { copy(c.f.disk[cmd.LBA()*512:], data) })
	c.answer(cmd, 0, 0)
}
