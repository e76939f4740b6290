// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"bytes"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// mishaps are the faults of a target, by operation. They may be changed at any time.
type mishaps struct {
	mu    sync.Mutex
	by    map[Operation]Fault
	asked []Request
	met   chan Operation // told of each operation that meets a fault
}

func newMishaps() *mishaps {
	return &mishaps{by: map[Operation]Fault{}, met: make(chan Operation, 64)}
}

func (m *mishaps) set(op Operation, f Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.by[op] = f
}

func (m *mishaps) fault(r Request) Fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, r)
	f, ok := m.by[r.Operation]
	if ok {
		m.met <- r.Operation
	}
	return f
}

func flushCommand() tcp.Command {
	return tcp.Command{Opcode: tcp.OpFlush, Flags: tcp.FlagSGL, NSID: nsid}
}

func shutdown() tcp.Command {
	return tcp.Property{Offset: tcp.PropCC, Value: tcp.CCEnable | tcp.CCEntrySizes | 1<<14}.Set()
}

// TestFaultIsAsked: each operation is told of by its name, with who asks, before it is carried out.
func TestFaultIsAsked(t *testing.T) {
	m := newMishaps()
	w := newWorld(t, Config{Fault: m.fault})
	p := newPeer("a")
	s := w.attach(p)
	s.admin.must(tcp.NewIdentify(tcp.CNSNamespace, nsid), nil)
	io := s.io[0]
	io.must(writeBlocks(0, 64), make([]byte, 64*BlockSize)) // more than a capsule holds: asked for once all the same
	io.must(readBlocks(0, 1), nil)
	io.must(tcp.NewRW(tcp.OpWriteZeroes, nsid, 0, 1), nil)
	io.must(flushCommand(), nil)
	ranges := tcp.Command{Opcode: tcp.OpDSM, Flags: tcp.FlagSGL, NSID: nsid, SGL: tcp.InCapsule(tcp.DSMRangeLen), CDW11: tcp.DSMDeallocate}
	io.must(ranges, make([]byte, tcp.DSMRangeLen))
	s.admin.must(shutdown(), nil)
	var got []Operation
	for _, r := range m.asked {
		if r.Subsystem != testNQN || r.Host != p.nqn {
			t.Errorf("asked about %+v", r)
		}
		got = append(got, r.Operation)
	}
	want := []Operation{
		OperationConnect, OperationIdentify, OperationWrite, OperationRead, OperationZero, OperationFlush, OperationDeallocate, OperationShutdown,
	}
	if !slices.Equal(got, want) {
		t.Errorf("asked about %v, want %v", got, want)
	}
}

// TestFaultStatus: a command that fails by a fault is not carried out, and its status is the fault's.
func TestFaultStatus(t *testing.T) {
	m := newMishaps()
	w := newWorld(t, Config{Fault: m.fault})
	s := w.attach(newPeer("a"))
	io, data := s.io[0], bytes.Repeat([]byte{7}, BlockSize)
	io.must(writeBlocks(0, 1), data)
	for _, tt := range []struct {
		op   Operation
		c    *conn
		cmd  tcp.Command
		data []byte
		want tcp.Status
	}{
		{OperationRead, io, readBlocks(0, 1), nil, tcp.StatusUnrecoveredRead | tcp.DNR},
		{OperationWrite, io, writeBlocks(0, 1), make([]byte, BlockSize), tcp.StatusWriteFault | tcp.DNR},
		{OperationZero, io, tcp.NewRW(tcp.OpWriteZeroes, nsid, 0, 1), nil, tcp.StatusInternal},
		{OperationFlush, io, flushCommand(), nil, tcp.StatusInternal | tcp.DNR},
		{OperationIdentify, s.admin, tcp.NewIdentify(tcp.CNSNamespace, nsid), nil, tcp.StatusInternal},
		{OperationShutdown, s.admin, shutdown(), nil, tcp.StatusInternal},
	} {
		m.set(tt.op, Fault{Status: tt.want})
		tt.c.wantStatus(tt.cmd, tt.data, tt.want)
		m.set(tt.op, Fault{})
	}
	if !bytes.Equal(w.mem.bytes(0, BlockSize), data) {
		t.Error("what failed was carried out")
	}
	m.set(OperationConnect, Fault{Status: tcp.StatusConnectBusy})
	if r := newPeer("b").connect(open(t, w.dial(), 0), testNQN, tcp.AnyController, 0); r.err != nil || r.cqe.Status != tcp.StatusConnectBusy {
		t.Errorf("connect: %v, %v", r.cqe.Status, r.err)
	}
	s.admin.must(shutdown(), nil)
}

// TestFaultBlank: a read answers zeroes while the fault lasts, and the data are as they were.
func TestFaultBlank(t *testing.T) {
	m := newMishaps()
	w := newWorld(t, Config{Fault: m.fault})
	io, data := w.attach(newPeer("a")).io[0], pattern(8*BlockSize, 1)
	io.must(writeBlocks(0, 8), data)
	m.set(OperationRead, Fault{Blank: true})
	if got := io.must(readBlocks(0, 8), nil).data; !bytes.Equal(got, make([]byte, len(data))) {
		t.Error("the read was not blank")
	}
	m.set(OperationRead, Fault{})
	if got := io.must(readBlocks(0, 8), nil).data; !bytes.Equal(got, data) {
		t.Error("the data changed")
	}
}

// TestFaultSize: Identify tells another size, and with Stale that of when the controller began.
func TestFaultSize(t *testing.T) {
	m := newMishaps()
	w := newWorld(t, Config{Fault: m.fault})
	old := w.attach(newPeer("a")).admin
	told := func(c *conn) int64 {
		t.Helper()
		id, err := tcp.ParseNamespaceIdentity(c.must(tcp.NewIdentify(tcp.CNSNamespace, nsid), nil).data)
		if err != nil {
			t.Fatal(err)
		}
		return int64(id.Size) << id.BlockShift
	}
	m.set(OperationIdentify, Fault{Size: 1 << 20})
	if got := told(old); got != 1<<20 {
		t.Errorf("told %d bytes", got)
	}
	w.mem.grow(8 << 20)
	m.set(OperationIdentify, Fault{Stale: true})
	if got, again := told(old), told(w.attach(newPeer("b")).admin); got != 4<<20 || again != 8<<20 {
		t.Errorf("told %d bytes, and a new controller %d", got, again)
	}
	m.set(OperationIdentify, Fault{})
	if got := told(old); got != 8<<20 {
		t.Errorf("told %d bytes", got)
	}
}

// TestFaultHold: a command waits until it is let go. One of the admin queue lets keep-alives overtake.
func TestFaultHold(t *testing.T) {
	m := newMishaps()
	w := newWorld(t, Config{Fault: m.fault})
	s := w.attach(newPeer("a"))
	for _, tt := range []struct {
		op   Operation
		c    *conn
		cmd  tcp.Command
		data []byte
	}{
		{OperationRead, s.io[0], readBlocks(0, 1), nil},
		{OperationWrite, s.io[0], writeBlocks(0, 1), bytes.Repeat([]byte{1}, BlockSize)},
		{OperationIdentify, s.admin, tcp.NewIdentify(tcp.CNSNamespace, nsid), nil},
		{OperationShutdown, s.admin, shutdown(), nil},
	} {
		hold := make(chan struct{})
		m.set(tt.op, Fault{Hold: hold})
		x := tt.c.start(tt.cmd, tt.data)
		<-m.met
		tt.c.must(map[bool]tcp.Command{true: {Opcode: tcp.OpKeepAlive, Flags: tcp.FlagSGL}, false: flushCommand()}[tt.c == s.admin], nil)
		select {
		case r := <-x.end:
			t.Errorf("%s was answered: %+v", tt.op, r)
		default:
		}
		close(hold)
		if r := tt.c.wait(x); r.err != nil || r.cqe.Status != 0 {
			t.Errorf("%s: %v, %v", tt.op, r.cqe.Status, r.err)
		}
	}
}

// TestFaultHoldEnds: what is held never reaches the Storage of a host that was dropped meanwhile, and Drop does not
// wait for it.
func TestFaultHoldEnds(t *testing.T) {
	m := newMishaps()
	w := newWorld(t, Config{Fault: m.fault})
	s := w.attach(newPeer("a"))
	hold := make(chan struct{})
	for _, op := range []Operation{OperationWrite, OperationShutdown} {
		m.set(op, Fault{Hold: hold})
	}
	s.io[0].start(writeBlocks(0, 1), bytes.Repeat([]byte{1}, BlockSize))
	s.admin.start(shutdown(), nil)
	<-m.met
	<-m.met
	w.tgt.Drop(testNQN, "")
	s.io[0].wantEnd()
	close(hold)
	if !bytes.Equal(w.mem.bytes(0, BlockSize), make([]byte, BlockSize)) {
		t.Error("a write that was held came after the host was dropped")
	}
	m.set(OperationConnect, Fault{Hold: make(chan struct{})})
	c := open(t, w.dial(), 0)
	p := newPeer("b")
	cmd := tcp.Connect{SQSize: 31}.Command()
	cmd.SGL = tcp.InCapsule(tcp.ConnectDataLen)
	c.start(cmd, tcp.ConnectData{HostID: p.id, CNTLID: tcp.AnyController, SubNQN: testNQN, HostNQN: p.nqn}.Append(nil))
	<-m.met
	w.tgt.Close() // waits for all connections
}

// TestFaultDelay: a command is answered so much later.
func TestFaultDelay(t *testing.T) {
	m := newMishaps()
	bubble(t, Config{Fault: m.fault}, func(t *testing.T, _ *world, dial func() net.Conn) {
		s := newPeer("a").attach(t, dial, testNQN, 1)
		m.set(OperationRead, Fault{Delay: patience / 2})
		began := time.Now()
		s.io[0].must(readBlocks(0, 1), nil)
		if took := time.Since(began); took != patience/2 {
			t.Errorf("the read took %v", took)
		}
		s.close()
	})
}
