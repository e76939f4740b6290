// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// TestProtocolFaults: each fatal error is answered with the right C2HTermReq, ends its connection,
// and leaves another one alone.
func TestProtocolFaults(t *testing.T) {
	w := newWorld(t, Config{MaxData: 64 << 10, MaxH2CData: 4096})
	bystander := w.attach(newPeer("bystander"))
	flush := tcp.CapsuleCmd{Command: tcp.Command{Opcode: tcp.OpFlush, Flags: tcp.FlagSGL, NSID: 1, CID: 500}}
	data := func(c *conn, p tcp.H2CData) {
		x := c.hold(writeBlocks(0, 16))
		r := <-x.r2t
		p.CID += r.CID
		p.TTag += r.TTag
		c.write(p, make([]byte, p.Length))
	}
	raw := func(b ...byte) func(*conn) {
		return func(c *conn) {
			if _, err := c.conn.Write(b); err != nil {
				t.Error(err)
			}
		}
	}
	tests := []struct {
		name  string
		fault func(c *conn)
		want  tcp.FatalStatus
	}{
		{"second ICReq", func(c *conn) { c.write(tcp.ICReq{}, nil) }, tcp.FatalSequence},
		{"PDU of a controller", func(c *conn) { c.write(tcp.R2T{}, nil) }, tcp.FatalHeaderField},
		{"termination by a controller", func(c *conn) { c.write(tcp.TermReq{FromController: true}, nil) }, tcp.FatalHeaderField},
		{"unknown type", raw(0x55, 0, 8, 0, 8, 0, 0, 0), tcp.FatalHeaderField},
		{"capsule of 4 GiB", raw(append([]byte{4, 0, 72, 72, 0xff, 0xff, 0xff, 0xff}, make([]byte, 64)...)...), tcp.FatalLimit},
		{"data nobody asked for", func(c *conn) { c.write(tcp.H2CData{CID: 1, TTag: 1, Length: 4, Last: true}, make([]byte, 4)) }, tcp.FatalHeaderField},
		{"data for another command", func(c *conn) { data(c, tcp.H2CData{CID: 1, Length: 4096}) }, tcp.FatalHeaderField},
		{"data with another tag", func(c *conn) { data(c, tcp.H2CData{TTag: 1, Length: 4096}) }, tcp.FatalHeaderField},
		{"data out of order", func(c *conn) { data(c, tcp.H2CData{Offset: 4096, Length: 4096}) }, tcp.FatalOutOfRange},
		{"data beyond MAXH2CDATA", func(c *conn) { data(c, tcp.H2CData{Length: 8192, Last: true}) }, tcp.FatalLimit},
		{"last too early", func(c *conn) { data(c, tcp.H2CData{Length: 4096, Last: true}) }, tcp.FatalHeaderField},
		{"too much data", func(c *conn) {
			x := c.hold(writeBlocks(0, 16))
			r := <-x.r2t
			c.write(tcp.H2CData{CID: r.CID, TTag: r.TTag, Length: 4096}, make([]byte, 4096))
			c.write(tcp.H2CData{CID: r.CID, TTag: r.TTag, Offset: 4096, Length: 4097}, make([]byte, 4097))
		}, tcp.FatalLimit},
		{"too many commands", func(c *conn) {
			entered, release := w.mem.block()
			defer release()
			for range 65 { // twice the 32 entries, and one more
				c.start(readBlocks(0, 1), nil)
			}
			<-entered
			c.wantEnd()
		}, tcp.FatalSequence},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newPeer("faulty").attach(t, w.dial, testNQN, 1)
			tt.fault(s.io[0])
			var got termination
			if err := s.io[0].ending(); !errors.As(err, &got) {
				t.Fatalf("the connection ended with %v, want a C2HTermReq", err)
			}
			if got.Status != tt.want || !got.FromController {
				t.Errorf("terminated with %v, want %v", got.Status, tt.want)
			}
			s.admin.wantLive()
			s.close()
			bystander.io[0].must(flush.Command, nil)
		})
	}
}

// TestHandshakeFaults: what is wrong before any session is there.
func TestHandshakeFaults(t *testing.T) {
	w := newWorld(t, Config{})
	tests := []struct {
		name string
		send tcp.PDU
		want tcp.FatalStatus
		info uint32
	}{
		{"no ICReq", tcp.H2CData{Length: 1}, tcp.FatalSequence, 0},
		{"PFV", tcp.ICReq{PFV: 1}, tcp.FatalUnsupported, 8},
		{"HPDA", tcp.ICReq{HPDA: 32}, tcp.FatalUnsupported, 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nc := w.dial()
			defer func() { _ = nc.Close() }()
			wr := tcp.NewWriter(nc)
			var data []byte
			if d, ok := tt.send.(tcp.H2CData); ok {
				data = make([]byte, d.Length)
			}
			if err := errors.Join(wr.WritePDU(tt.send, data), wr.Flush()); err != nil {
				t.Fatal(err)
			}
			p, err := tcp.NewReader(nc, tcp.Limits{}).ReadPDU()
			if term, ok := p.(tcp.TermReq); err != nil || !ok || term.Status != tt.want || term.Info != tt.info {
				t.Errorf("got %+v, %v, want %v at %d", p, err, tt.want, tt.info)
			}
		})
	}
}

// TestAlignment: data for a host that asks for it begins at its alignment.
func TestAlignment(t *testing.T) {
	w := newWorld(t, Config{})
	nc := w.dial()
	defer func() { _ = nc.Close() }()
	wr := tcp.NewWriter(nc)
	connect := tcp.Connect{SQSize: 31}.Command()
	connect.SGL = tcp.InCapsule(tcp.ConnectDataLen)
	p := newPeer("a")
	enable := tcp.Property{Offset: tcp.PropCC, Value: tcp.CCEnable | tcp.CCEntrySizes}.Set()
	for _, s := range []struct {
		pdu  tcp.PDU
		data []byte
	}{
		{tcp.ICReq{HPDA: 15}, nil},
		{tcp.CapsuleCmd{Command: connect}, tcp.ConnectData{HostID: p.id, CNTLID: tcp.AnyController, SubNQN: testNQN, HostNQN: p.nqn}.Append(nil)},
		{tcp.CapsuleCmd{Command: enable}, nil},
		{tcp.CapsuleCmd{Command: tcp.NewIdentify(tcp.CNSController, 0)}, nil},
	} {
		if err := errors.Join(wr.WritePDU(s.pdu, s.data), wr.Flush()); err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 8)
		if _, err := io.ReadFull(nc, head); err != nil {
			t.Fatal(err)
		}
		if head[0] == byte(tcp.TypeC2HData) {
			if pdo := head[3]; pdo != 64 {
				t.Errorf("PDO %d, want 64", pdo)
			}
			return
		}
		if _, err := io.CopyN(io.Discard, nc, int64(binary.LittleEndian.Uint32(head[4:]))-8); err != nil {
			t.Fatal(err)
		}
	}
	t.Error("no C2HData")
}

// TestDataDigestErrors: damaged data fails its command alone, without DNR, and does not reach the
// storage.
func TestDataDigestErrors(t *testing.T) {
	w := newWorld(t, Config{MaxH2CData: 4096})
	p := newPeer("a")
	p.digest = tcp.DataDigest
	s := w.attach(p)
	c := s.io[0]
	small := writeBlocks(0, 1)
	small.SGL = tcp.InCapsule(BlockSize)
	for name, x := range map[string]*exchange{
		"in a capsule": c.startDamaged(small, pattern(BlockSize, 1)),
		"by R2T":       c.startDamaged(writeBlocks(0, 16), pattern(16*BlockSize, 2)),
	} {
		if r := c.wait(x); r.err != nil || r.cqe.Status != tcp.StatusTransientTransport {
			t.Errorf("%s: %v, %v", name, r.cqe.Status, r.err)
		}
	}
	for i, b := range w.mem.bytes(0, 16*BlockSize) {
		if b != 0 {
			t.Fatalf("byte %d of the storage changed", i)
		}
	}
	c.must(small, pattern(BlockSize, 1))
}

// flipper damages the last byte of data in each PDU that carries data while it is on.
type flipper struct {
	net.Conn
	on bool
}

func (f *flipper) Write(p []byte) (int, error) {
	if f.on && len(p) > 128 {
		p = append([]byte(nil), p...)
		p[len(p)-5] ^= 1
	}
	return f.Conn.Write(p)
}

// startDamaged sends a write whose data does not match its digest.
func (c *conn) startDamaged(cmd tcp.Command, data []byte) *exchange {
	c.mu.Lock()
	damaged := tcp.NewWriter(&flipper{c.conn, true})
	damaged.Negotiated(c.icr.Digest, c.icr.CPDA)
	good := c.w
	c.w = damaged
	c.mu.Unlock()
	x := c.start(cmd, data)
	r := c.wait(x)
	x.end <- r
	c.mu.Lock()
	c.w = good
	c.mu.Unlock()
	return x
}

// TestHostEndsConnection: an H2CTermReq or a close ends the controller and is no fault.
func TestHostEndsConnection(t *testing.T) {
	gone := make(chan ControllerInfo, 1)
	w := newWorld(t, Config{OnDisconnect: func(i ControllerInfo) { gone <- i }})
	for _, leave := range []func(c *conn){
		func(c *conn) { c.write(tcp.TermReq{Status: tcp.FatalSequence}, nil) },
		func(c *conn) { c.close() },
	} {
		s := w.attach(newPeer("a"))
		leave(s.admin)
		if i := <-gone; i.CNTLID != s.cntlid {
			t.Errorf("ended %+v, want %d", i, s.cntlid)
		}
		s.io[0].wantEnd()
	}
}

// TestCommandIDConflict: a CID that is in flight is refused, and the first command completes.
func TestCommandIDConflict(t *testing.T) {
	w := newWorld(t, Config{})
	c := w.attach(newPeer("a")).io[0]
	entered, release := w.mem.block()
	defer release()
	x := c.start(readBlocks(0, 1), nil)
	<-entered
	twin := readBlocks(0, 1)
	twin.CID = c.cid
	c.write(tcp.CapsuleCmd{Command: twin}, nil)
	if r := c.wait(x); r.cqe.Status != tcp.StatusCIDConflict|tcp.DNR {
		t.Errorf("second command: %v, %v", r.cqe.Status, r.err)
	}
	second := &exchange{end: make(chan result, 1)}
	c.mu.Lock()
	c.waiting[twin.CID] = second
	c.mu.Unlock()
	release()
	if r := c.wait(second); r.cqe.Status != 0 || len(r.data) != BlockSize {
		t.Errorf("first command: %v, %v", r.cqe.Status, r.err)
	}
}

func TestMaxConnections(t *testing.T) {
	gone := make(chan ControllerInfo, 1)
	w := newWorld(t, Config{MaxConnections: 2, OnDisconnect: func(i ControllerInfo) { gone <- i }})
	s := w.attach(newPeer("a"))
	nc := w.dial()
	defer func() { _ = nc.Close() }()
	if n, err := nc.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("a third connection: %d bytes, %v", n, err)
	}
	s.close()
	<-gone
	w.attach(newPeer("a")).io[0].must(readBlocks(0, 1), nil)
}
