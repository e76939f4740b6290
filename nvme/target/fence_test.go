// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// The ways to end a host's access. Each is a fence.
var fences = []struct {
	name string
	do   func(w *world, p peer)
}{
	{"drop", func(w *world, p peer) { w.tgt.Drop(testNQN, p.nqn) }},
	{"drop all", func(w *world, _ peer) { w.tgt.Drop(testNQN, "") }},
	{"unlink", func(w *world, _ peer) { w.port.Unlink(testNQN) }},
	{"remove", func(w *world, _ peer) { w.tgt.Remove(testNQN) }},
	{"close port", func(w *world, _ peer) { w.port.Close() }},
	{"close target", func(w *world, _ peer) { w.tgt.Close() }},
}

// TestFenceWaitsForStorage: the fence does not return while a write of the host is in the storage,
// and nothing that was queued behind that write follows.
func TestFenceWaitsForStorage(t *testing.T) {
	for _, fence := range fences {
		t.Run(fence.name, func(t *testing.T) {
			var journal atomic.Int64
			w := newWorld(t, Config{Workers: 2, OnWrite: func(string, string, int64, int64) { journal.Add(1) }})
			p := newPeer("a")
			c := w.attach(p).io[0]
			entered, release := w.mem.block()
			defer release()
			for i := range 10 {
				cmd := writeBlocks(uint64(i), 1)
				cmd.SGL = tcp.InCapsule(BlockSize)
				c.start(cmd, bytes.Repeat([]byte{1}, BlockSize))
			}
			<-entered
			<-entered // both workers are in the storage
			fenced := make(chan struct{})
			go func() {
				defer close(fenced)
				fence.do(w, p)
			}()
			c.wantEnd() // at once, whatever the storage does
			select {
			case <-fenced:
				t.Fatal("the fence is up while writes are in the storage")
			default:
			}
			release()
			<-fenced
			if busy, _, _ := w.mem.usage(); busy != 0 {
				t.Errorf("%d calls in the storage after the fence", busy)
			}
			if n := journal.Load(); n != 2 {
				t.Errorf("the journal has %d writes, want the 2 that were in the storage", n)
			}
			if got := w.mem.bytes(2*BlockSize, 8*BlockSize); bytes.Contains(got, []byte{1}) {
				t.Error("a write that had not begun reached the storage")
			}
		})
	}
}

// guarded is a Storage that reports calls that begin or end behind a fence.
type guarded struct {
	*memory
	t      *testing.T
	fenced *atomic.Bool
}

func (g guarded) WriteAt(p []byte, off int64) (int, error) {
	if g.fenced.Load() {
		g.t.Error("a write began behind the fence")
	}
	n, err := g.memory.WriteAt(p, off)
	if g.fenced.Load() {
		g.t.Error("a write ended behind the fence")
	}
	return n, err
}

// TestFenceUnderLoad raises fences against hosts that write as fast as they can and reconnect as
// soon as they are dropped.
func TestFenceUnderLoad(t *testing.T) {
	var fenced atomic.Bool
	connected := make(chan string, 1024)
	w := newWorld(t, Config{OnConnect: func(i ControllerInfo) { connected <- i.HostNQN }})
	storage := guarded{w.mem, t, &fenced}
	w.tgt.Remove(testNQN)
	stop := make(chan struct{})
	var hosts sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		hosts.Go(func() { hammer(t, w, newPeer(name), stop) })
	}
	for i := range 40 {
		fenced.Store(false)
		if err := w.tgt.Add(Subsystem{NQN: testNQN, Storage: storage}); err != nil {
			t.Fatal(err)
		}
		if err := w.port.Link(testNQN); err != nil {
			t.Fatal(err)
		}
		for seen := map[string]bool{}; len(seen) < 2; { // both are about to write
			seen[<-connected] = true
		}
		if i%2 == 0 {
			w.port.Unlink(testNQN)
			fenced.Store(true)
		}
		w.tgt.Remove(testNQN)
		fenced.Store(true)
		for len(connected) > 0 {
			<-connected
		}
	}
	close(stop)
	hosts.Wait()
}

// hammer connects and writes, with data in capsules and by R2T, until it is told to stop.
func hammer(t *testing.T, w *world, p peer, stop <-chan struct{}) {
	data := make([]byte, 32*BlockSize)
	for {
		select {
		case <-stop:
			return
		default:
		}
		nc := w.dial()
		s := &session{admin: open(t, nc, 0)}
		r := p.connect(s.admin, testNQN, tcp.AnyController, 0)
		if r.err == nil && r.cqe.Status == 0 {
			r = s.admin.do(tcp.Property{Offset: tcp.PropCC, Value: tcp.CCEnable | tcp.CCEntrySizes}.Set(), nil)
			io := open(t, w.dial(), 0)
			if r.err == nil {
				r = p.connect(io, testNQN, lastCNTLID(w, p), 1)
			}
			for r.err == nil && r.cqe.Status == 0 {
				small := writeBlocks(0, 1)
				small.SGL = tcp.InCapsule(BlockSize)
				x := io.start(small, data[:BlockSize])
				r = io.do(writeBlocks(1, 32), data)
				io.wait(x)
			}
			io.close()
		}
		s.admin.close()
	}
}

// lastCNTLID returns the newest controller of a host, or AnyController.
func lastCNTLID(w *world, p peer) uint16 {
	id := uint16(tcp.AnyController)
	for _, info := range w.tgt.Controllers(testNQN) {
		if info.HostNQN == p.nqn {
			id = info.CNTLID
		}
	}
	return id
}

// TestDropOneHost: the other host goes on, and the dropped one may come back unless it is denied.
func TestDropOneHost(t *testing.T) {
	w := newWorld(t, Config{})
	a, b := newPeer("a"), newPeer("b")
	sa, sb := w.attach(a), w.attach(b)
	w.tgt.Drop(testNQN, a.nqn)
	sa.io[0].wantEnd()
	sa.admin.wantEnd()
	sb.io[0].must(writeBlocks(0, 1), make([]byte, BlockSize))
	if got := w.tgt.Controllers(testNQN); len(got) != 1 || got[0].HostNQN != b.nqn || got[0].Queues != 2 {
		t.Errorf("controllers %+v, want b's alone", got)
	}
	again := w.attach(a)
	if again.cntlid == sa.cntlid {
		t.Errorf("the new controller has the CNTLID %d of the old one", again.cntlid)
	}
	w.tgt.Drop("nqn.unknown", "")
	again.io[0].must(readBlocks(0, 1), nil)
}

// TestNoQueueJoinsAnEndingController: while a fence waits for the storage, the host cannot add an I/O
// queue to the controller that is about to be gone.
func TestNoQueueJoinsAnEndingController(t *testing.T) {
	w := newWorld(t, Config{})
	p := newPeer("a")
	s := w.attach(p)
	entered, release := w.mem.block()
	defer release()
	s.io[0].start(readBlocks(0, 1), nil)
	<-entered
	dropped := make(chan struct{})
	go func() {
		defer close(dropped)
		w.tgt.Drop(testNQN, p.nqn)
	}()
	s.io[0].wantEnd()
	late := open(t, w.dial(), 0)
	if r := p.connect(late, testNQN, s.cntlid, 2); r.cqe.Status.Code() != tcp.StatusConnectInvalid {
		t.Errorf("I/O queue of an ending controller: %v, %v", r.cqe.Status, r.err)
	}
	release()
	<-dropped
}

// TestUnlinkOnePort: controllers that came through another port stay.
func TestUnlinkOnePort(t *testing.T) {
	w := newWorld(t, Config{})
	p2, addr2 := w.listen(2)
	if err := p2.Link(testNQN); err != nil {
		t.Fatal(err)
	}
	a, b := newPeer("a"), newPeer("b")
	sa := w.attach(a)
	_, addr3 := w.listen(3)
	if r := a.connect(open(t, dial(t, addr3), 0), testNQN, tcp.AnyController, 0); r.cqe.Status != tcp.StatusConnectInvalid|tcp.DNR {
		t.Errorf("connect on a port without a link: %v, %v", r.cqe.Status, r.err)
	}
	w.addr = addr2
	sb := w.attach(b)
	w.port.Unlink(testNQN)
	sa.io[0].wantEnd()
	sb.io[0].must(readBlocks(0, 1), nil)
	if w.port.Links() != 0 || p2.Links() != 1 {
		t.Errorf("links: %d and %d", w.port.Links(), p2.Links())
	}
}

// TestResetEndsIO: a host that disables its controller has its writes fenced before it is told.
func TestResetEndsIO(t *testing.T) {
	w := newWorld(t, Config{})
	s := w.attach(newPeer("a"))
	entered, release := w.mem.block()
	defer release()
	s.io[0].start(writeBlocks(0, 1), make([]byte, BlockSize))
	<-entered
	x := s.admin.start(tcp.Property{Offset: tcp.PropCC}.Set(), nil)
	s.io[0].wantEnd()
	select {
	case r := <-x.end:
		t.Fatalf("the reset was answered while a write is in the storage: %+v", r)
	default:
	}
	release()
	if r := s.admin.wait(x); r.err != nil || r.cqe.Status != 0 {
		t.Fatalf("reset: %v, %v", r.cqe.Status, r.err)
	}
	s.admin.wantStatus(tcp.NewIdentify(tcp.CNSController, 0), nil, tcp.StatusSequence|tcp.DNR)
	s.admin.must(tcp.Property{Offset: tcp.PropCC, Value: tcp.CCEnable | tcp.CCEntrySizes}.Set(), nil)
	s.admin.must(tcp.NewIdentify(tcp.CNSController, 0), nil)
}

// TestJournal: each write is told with its host and range before the host has its answer.
func TestJournal(t *testing.T) {
	type entry struct {
		subsystem, host string
		off, n          int64
	}
	journal := make(chan entry, 10)
	connected := make(chan ControllerInfo, 10)
	w := newWorld(t, Config{
		OnWrite:   func(subsystem, host string, off, n int64) { journal <- entry{subsystem, host, off, n} },
		OnConnect: func(i ControllerInfo) { connected <- i },
	})
	for i, p := range []peer{newPeer("a"), newPeer("b")} {
		s := w.attach(p)
		want := ControllerInfo{Subsystem: testNQN, HostNQN: p.nqn, HostID: p.id, CNTLID: s.cntlid, Port: 1, Queues: 1}
		if got := <-connected; got != want {
			t.Errorf("connected %+v, want %+v", got, want)
		}
		s.io[0].must(readBlocks(0, 1), nil)
		s.io[0].must(writeBlocks(uint64(i+5), 2), make([]byte, 2*BlockSize))
		select {
		case e := <-journal:
			if want := (entry{testNQN, p.nqn, int64(i+5) * BlockSize, 2 * BlockSize}); e != want {
				t.Errorf("journal %+v, want %+v", e, want)
			}
		default:
			t.Error("the host was answered before the journal")
		}
	}
	if len(journal) != 0 {
		t.Errorf("%d more entries", len(journal))
	}
}

// TestAdminQueueEnds: without its admin queue a controller ends.
func TestAdminQueueEnds(t *testing.T) {
	ended := make(chan ControllerInfo, 1)
	w := newWorld(t, Config{OnDisconnect: func(i ControllerInfo) { ended <- i }})
	p := newPeer("a")
	s := w.attach(p)
	s.admin.close()
	s.io[0].wantEnd()
	if i := <-ended; i.HostNQN != p.nqn || i.CNTLID != s.cntlid || i.Subsystem != testNQN {
		t.Errorf("told of %+v", i)
	}
}
