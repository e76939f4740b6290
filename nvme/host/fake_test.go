// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

const (
	testSubsystem = "nqn.2026-01.example:pvc-1"
	testHost      = "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-000000000001"
	testDisk      = 8 << 20
)

// A fake is a target that can be told to misbehave. It serves net.Pipe, so that time in its tests
// is synctest's, and sockets.
type fake struct {
	mu    sync.Mutex
	conns map[*fakeConn]struct{}
	wg    sync.WaitGroup

	// What it is. Set before it is connected to, or with set.
	disk     []byte
	ns       tcp.NamespaceIdentity
	ids      tcp.Descriptors
	nsids    []uint32
	identity tcp.ControllerIdentity
	caps     tcp.Capabilities
	offer    tcp.Digest
	resp     tcp.ICResp
	r2t      int  // bytes that one R2T asks for
	success  bool // C2HData says SUCCESS, and no capsule follows
	queues   int
	log      []tcp.DiscoveryEntry

	generation uint64 // of log
	moving     bool   // log changes whenever it is read

	// How it misbehaves.
	refused bool       // the port is closed
	connect tcp.Status // refuses Connect
	frozen  chan struct{}
	// intercept sees each command before it is carried out, and returns true to have it ignored.
	intercept func(c *fakeConn, cmd tcp.Command) bool

	// What it saw.
	dials    []time.Time
	seen     []tcp.Command
	kato     uint32
	hostID   uuid.UUID
	sqsize   []uint16
	cc       uint64
	term     []tcp.TermReq
	aers     []func(tcp.AsyncEvent)
	masked   bool // an event was told and its log page not yet read
	nextCtrl uint16
}

func newFake() *fake {
	return &fake{
		conns: make(map[*fakeConn]struct{}),
		disk:  make([]byte, testDisk),
		ns:    tcp.NamespaceIdentity{Size: testDisk / 512, BlockShift: 9},
		ids:   tcp.Descriptors{UUID: uuid.MustParse("5f2a0c1e-0000-4000-8000-00000000000a")},
		nsids: []uint32{1},
		identity: tcp.ControllerIdentity{
			Model: "Fake", Version: tcp.Version14, Type: tcp.ControllerIO, OAES: tcp.NotifyNamespace, KAS: 10, MDTS: 5,
			SGLS: tcp.SGLSFabrics, MaxCommands: 64, IOCCSZ: 4 + 4096/16, IORCSZ: 1, ONCS: tcp.ONCSDSM | tcp.ONCSWriteZeroes,
		},
		caps:   tcp.Capabilities{MaxQueueEntries: 127, TimeoutHalfSec: 10},
		offer:  tcp.HeaderDigest | tcp.DataDigest,
		resp:   tcp.ICResp{MaxH2CData: 8192},
		r2t:    1 << 20,
		queues: 4,
	}
}

// dial connects a pipe.
func (f *fake) dial(_ context.Context, _, _ string) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dials = append(f.dials, time.Now())
	if f.refused {
		return nil, syscall.ECONNREFUSED
	}
	ours, theirs := net.Pipe()
	f.start(ours)
	return theirs, nil
}

// listen serves a socket and returns its address.
func (f *fake) listen(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.start(conn)
			f.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		f.close()
	})
	return l.Addr().String()
}

// start serves a connection. f.mu is held.
func (f *fake) start(conn net.Conn) {
	c := &fakeConn{
		f: f, conn: conn, writes: make(map[uint16]*fakeWrite),
		r: tcp.NewReader(conn, tcp.Limits{MaxInCapsule: 1 << 20, MaxData: 1 << 20}), w: tcp.NewWriter(conn),
	}
	f.conns[c] = struct{}{}
	f.wg.Go(func() {
		c.serve()
		_ = conn.Close()
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.conns, c)
	})
}

// close ends the fake and waits for it.
func (f *fake) close() {
	f.thaw()
	f.drop()
	f.wg.Wait()
}

// drop closes all connections.
func (f *fake) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		_ = c.conn.Close()
	}
}

// freeze keeps connections open and stops answering.
func (f *fake) freeze() { f.set(func() { f.frozen = make(chan struct{}) }) }

func (f *fake) thaw() {
	f.set(func() {
		if f.frozen != nil {
			close(f.frozen)
			f.frozen = nil
		}
	})
}

// set changes the fake.
func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// resize changes the size, and tells if notify is set.
func (f *fake) resize(size int64, notify bool) {
	f.mu.Lock()
	f.disk = append(f.disk[:min(len(f.disk), int(size))], make([]byte, max(int(size)-len(f.disk), 0))...)
	f.ns.Size = uint64(size) / 512
	var aers []func(tcp.AsyncEvent)
	if notify && !f.masked {
		aers, f.aers, f.masked = f.aers, nil, true
	}
	f.mu.Unlock()
	for _, answer := range aers {
		answer(tcp.AsyncEvent{Kind: tcp.AsyncNotice, Info: tcp.NoticeNamespaceChanged, LogPage: tcp.LogChangedNS})
	}
}

// count returns how many commands of an I/O opcode came.
func (f *fake) count(opcode uint8, nsid uint32) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.seen {
		if c.Opcode == opcode && c.NSID == nsid {
			n++
		}
	}
	return n
}

// dialled returns when connections were asked for.
func (f *fake) dialled() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.dials)
}

// config connects to the fake through a pipe.
func (f *fake) config() Config {
	return Config{
		Address: "fake:4420", SubsystemNQN: testSubsystem, HostNQN: testHost,
		HostID: uuid.MustParse("00000000-0000-4000-8000-000000000001"), Dial: f.dial,
		ReconnectDelay: 2 * time.Second, CtrlLossTimeout: -1,
	}
}

// first returns an intercept that does something, and nothing else, with the first command of an
// opcode on the admin queue or on an I/O queue.
func first(admin bool, opcode uint8, do func(c *fakeConn, cmd tcp.Command)) func(*fakeConn, tcp.Command) bool {
	var done atomic.Bool
	return func(c *fakeConn, cmd tcp.Command) bool {
		if !c.ready || admin != (c.qid == 0) || cmd.Opcode != opcode || !done.CompareAndSwap(false, true) {
			return false
		}
		do(c, cmd)
		return true
	}
}

// ignore does nothing.
func ignore(*fakeConn, tcp.Command) {}
