// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// The tests' initiator: one conn per queue, made of the codec alone.

// patience is how long a test waits for what must come. Nothing is judged by it but a hang.
const patience = 20 * time.Second

// A result is the end of a command: its completion and data, or why there is none.
type result struct {
	cqe  tcp.Completion
	data []byte
	err  error
}

// A conn is one connection of an initiator.
type conn struct {
	t    testing.TB
	conn net.Conn
	icr  tcp.ICResp

	// stray lets PDUs come for commands that this conn did not send.
	stray atomic.Bool

	done chan struct{} // closed when the reader has ended, with err
	err  error

	mu      sync.Mutex
	w       *tcp.Writer
	cid     uint16
	waiting map[uint16]*exchange
}

type exchange struct {
	out  []byte // to send when asked
	in   []byte
	hold bool // take R2Ts without sending data
	r2t  chan tcp.R2T
	end  chan result
}

// open makes the connection of a queue up to its ICResp.
func open(t testing.TB, nc net.Conn, digest tcp.Digest) *conn {
	t.Helper()
	c := &conn{t: t, conn: nc, w: tcp.NewWriter(nc), done: make(chan struct{}), waiting: make(map[uint16]*exchange)}
	r := tcp.NewReader(nc, tcp.Limits{MaxData: 1 << 24})
	c.write(tcp.ICReq{Digest: digest}, nil)
	p, err := r.ReadPDU()
	if err != nil {
		t.Fatalf("read ICResp: %v", err)
	}
	var ok bool
	if c.icr, ok = p.(tcp.ICResp); !ok {
		t.Fatalf("got %T, want ICResp", p)
	}
	if c.icr.Digest != digest || c.icr.MaxH2CData < tcp.MinMaxH2CData {
		t.Fatalf("got %+v for digest %d", c.icr, digest)
	}
	r.Negotiated(digest)
	c.mu.Lock()
	c.w.Negotiated(digest, c.icr.CPDA)
	c.mu.Unlock()
	go c.read(r)
	t.Cleanup(c.close)
	return c
}

func (c *conn) close() {
	_ = c.conn.Close()
	<-c.done
}

func (c *conn) write(p tcp.PDU, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.w.WritePDU(p, data); err == nil {
		_ = c.w.Flush() // the reader sees the end of the connection
	}
}

func (c *conn) read(r *tcp.Reader) {
	defer close(c.done)
	for {
		p, err := r.ReadPDU()
		if err == nil {
			err = c.take(r, p)
		}
		if err != nil {
			c.err = err
			c.mu.Lock()
			for cid, x := range c.waiting {
				delete(c.waiting, cid)
				x.end <- result{err: err}
			}
			c.mu.Unlock()
			return
		}
	}
}

// A termination is a C2HTermReq that the target sent.
type termination struct{ tcp.TermReq }

func (e termination) Error() string { return "terminated: " + e.Status.String() }

func (c *conn) take(r *tcp.Reader, p tcp.PDU) error {
	switch p := p.(type) {
	case tcp.CapsuleResp:
		c.finish(p.Completion)
	case tcp.C2HData:
		x := c.exchange(p.CID)
		if int(p.Offset) != len(x.in) {
			return errors.New("data out of order")
		}
		data := make([]byte, p.Length)
		if err := r.ReadData(data); err != nil {
			return err
		}
		x.in = append(x.in, data...)
		if p.Success {
			c.finish(tcp.Completion{CID: p.CID})
		}
	case tcp.R2T:
		x := c.exchange(p.CID)
		if c.stray.Load() {
			return nil
		}
		if x.hold {
			x.r2t <- p
			return nil
		}
		c.supply(p, x.out)
	case tcp.TermReq:
		return termination{p}
	default:
		return errors.New("unexpected " + p.Type().String())
	}
	return nil
}

// supply sends the data that an R2T asks for.
func (c *conn) supply(r tcp.R2T, data []byte) {
	data = data[r.Offset:][:r.Length]
	for off := 0; off < len(data); {
		n := min(len(data)-off, int(c.icr.MaxH2CData))
		c.write(tcp.H2CData{
			CID: r.CID, TTag: r.TTag, Offset: r.Offset + uint32(off), Length: uint32(n), Last: off+n == len(data),
		}, data[off:off+n])
		off += n
	}
}

func (c *conn) exchange(cid uint16) *exchange {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x := c.waiting[cid]; x != nil {
		return x
	}
	if !c.stray.Load() {
		c.t.Errorf("PDU for command %d, which is not outstanding", cid)
	}
	return &exchange{end: make(chan result, 1), r2t: make(chan tcp.R2T, 1)}
}

func (c *conn) finish(cqe tcp.Completion) {
	x := c.exchange(cqe.CID)
	c.mu.Lock()
	delete(c.waiting, cqe.CID)
	c.mu.Unlock()
	x.end <- result{cqe: cqe, data: x.in}
}

// start sends a command. Data goes in the capsule if the SGL says so, and else when it is asked for.
func (c *conn) start(cmd tcp.Command, data []byte) *exchange {
	return c.begin(cmd, data, &exchange{out: data})
}

// hold sends a command and leaves its R2T unanswered.
func (c *conn) hold(cmd tcp.Command) *exchange { return c.begin(cmd, nil, &exchange{hold: true}) }

func (c *conn) begin(cmd tcp.Command, data []byte, x *exchange) *exchange {
	x.end, x.r2t = make(chan result, 1), make(chan tcp.R2T, 1)
	c.mu.Lock()
	c.cid++
	cmd.CID = c.cid
	c.waiting[cmd.CID] = x
	c.mu.Unlock()
	if cmd.SGL.ID != tcp.SGLInCapsule {
		data = nil
	}
	c.write(tcp.CapsuleCmd{Command: cmd}, data)
	select {
	case <-c.done: // nobody would answer
		c.mu.Lock()
		if c.waiting[cmd.CID] == x {
			delete(c.waiting, cmd.CID)
			x.end <- result{err: c.err}
		}
		c.mu.Unlock()
	default:
	}
	return x
}

func (c *conn) wait(x *exchange) result {
	c.t.Helper()
	select {
	case r := <-x.end:
		return r
	case <-time.After(patience):
		c.t.Fatal("no answer")
		return result{}
	}
}

// do executes a command.
func (c *conn) do(cmd tcp.Command, data []byte) result {
	c.t.Helper()
	return c.wait(c.start(cmd, data))
}

// must executes a command that has to succeed.
func (c *conn) must(cmd tcp.Command, data []byte) result {
	c.t.Helper()
	r := c.do(cmd, data)
	if r.err != nil || r.cqe.Status != 0 {
		c.t.Fatalf("command %#x: %v, %v", cmd.Opcode, r.cqe.Status, r.err)
	}
	return r
}

// wantStatus executes a command that has to fail.
func (c *conn) wantStatus(cmd tcp.Command, data []byte, want tcp.Status) result {
	c.t.Helper()
	r := c.do(cmd, data)
	if r.err != nil || r.cqe.Status != want {
		c.t.Fatalf("command %#x: got %v, %v, want %v", cmd.Opcode, r.cqe.Status, r.err, want)
	}
	return r
}

// wantEnd waits for the target to end the connection.
func (c *conn) wantEnd() {
	c.t.Helper()
	_ = c.ending()
}

// ending waits for the target to end the connection and returns with what.
func (c *conn) ending() error {
	c.t.Helper()
	select {
	case <-c.done:
		return c.err
	case <-time.After(patience):
		c.t.Fatal("the connection stays")
		return nil
	}
}

// wantLive checks that the connection is answered on.
func (c *conn) wantLive() {
	c.t.Helper()
	c.must(tcp.Property{Offset: tcp.PropVS}.Get(), nil)
}

// A peer is an initiator with an identity.
type peer struct {
	nqn    string
	id     uuid.UUID
	digest tcp.Digest
	attr   uint8  // of Connect
	kato   uint32 // ms
	size   uint16 // entries of a queue; 0: 32
}

func newPeer(name string) peer {
	id := uuid.NewSHA1(uuid.NameSpaceDNS, []byte(name))
	return peer{nqn: "nqn.2014-08.org.nvmexpress:uuid:" + id.String(), id: id}
}

// connect sends Connect for a queue.
func (p peer) connect(c *conn, nqn string, cntlid, qid uint16) result {
	c.t.Helper()
	size := p.size
	if size == 0 {
		size = 32
	}
	cmd := tcp.Connect{QID: qid, SQSize: size - 1, Attributes: p.attr, KATO: p.kato}.Command()
	cmd.SGL = tcp.InCapsule(tcp.ConnectDataLen)
	return c.do(cmd, tcp.ConnectData{HostID: p.id, CNTLID: cntlid, SubNQN: nqn, HostNQN: p.nqn}.Append(nil))
}

// A session is a connected controller with an admin queue and one or more I/O queues.
type session struct {
	admin  *conn
	io     []*conn
	cntlid uint16
}

// dial makes the TCP connection that the sessions of these tests use.
func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

// attach does what a kernel does up to its first I/O.
func (p peer) attach(t testing.TB, dial func() net.Conn, nqn string, queues int) *session {
	t.Helper()
	s := &session{admin: open(t, dial(), p.digest)}
	r := p.connect(s.admin, nqn, tcp.AnyController, 0)
	if r.err != nil || r.cqe.Status != 0 {
		t.Fatalf("connect admin queue: %v, %v", r.cqe.Status, r.err)
	}
	s.cntlid = uint16(r.cqe.DW0)
	s.admin.must(tcp.Property{Offset: tcp.PropCAP, Wide: true}.Get(), nil)
	s.admin.must(tcp.Property{Offset: tcp.PropCC, Value: tcp.CCEnable | tcp.CCEntrySizes}.Set(), nil)
	if csts := s.admin.must(tcp.Property{Offset: tcp.PropCSTS}.Get(), nil).cqe.Result(); csts != tcp.CSTSReady {
		t.Fatalf("CSTS is %#x after enabling", csts)
	}
	for i := range queues {
		c := open(t, dial(), p.digest)
		r := p.connect(c, nqn, s.cntlid, uint16(i+1))
		if r.err != nil || r.cqe.Status != 0 || uint16(r.cqe.DW0) != s.cntlid {
			t.Fatalf("connect I/O queue: %v, %v, CNTLID %d, want %d", r.cqe.Status, r.err, r.cqe.DW0, s.cntlid)
		}
		s.io = append(s.io, c)
	}
	return s
}

func (s *session) close() {
	for _, c := range s.io {
		c.close()
	}
	s.admin.close()
}

// A world is a target with one port and one subsystem.
type world struct {
	t    testing.TB
	tgt  *Target
	port *Port
	addr string
	mem  *memory
}

const testNQN = "nqn.2026-01.io.example:pvc-1"

// newWorld starts a target on the loopback.
func newWorld(t testing.TB, cfg Config) *world {
	t.Helper()
	w := &world{t: t, tgt: New(cfg), mem: newMemory(4 << 20)}
	t.Cleanup(w.tgt.Close)
	if err := w.tgt.Add(Subsystem{NQN: testNQN, Storage: w.mem}); err != nil {
		t.Fatal(err)
	}
	w.port, w.addr = w.listen(1)
	if err := w.port.Link(testNQN); err != nil {
		t.Fatal(err)
	}
	return w
}

// listen makes a port and serves it until the test ends.
func (w *world) listen(id uint16) (*Port, string) {
	w.t.Helper()
	p, err := w.tgt.NewPort(id)
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(context.Background(), l) }()
	w.t.Cleanup(func() {
		p.Close()
		if err := <-served; err != nil {
			w.t.Errorf("serve: %v", err)
		}
	})
	return p, l.Addr().String()
}

func (w *world) dial() net.Conn { return dial(w.t, w.addr) }

// attach connects a peer with one I/O queue.
func (w *world) attach(p peer) *session {
	w.t.Helper()
	return p.attach(w.t, w.dial, testNQN, 1)
}

// read and write return the commands for n blocks.
func readBlocks(lba uint64, n int) tcp.Command {
	c := tcp.NewRW(tcp.OpRead, nsid, lba, n)
	c.SGL = tcp.Transport(n * BlockSize)
	return c
}

func writeBlocks(lba uint64, n int) tcp.Command {
	c := tcp.NewRW(tcp.OpWrite, nsid, lba, n)
	c.SGL = tcp.Transport(n * BlockSize)
	return c
}
