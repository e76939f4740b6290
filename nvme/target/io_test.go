// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pattern returns n bytes that depend on seed.
func pattern(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, seed))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestReadWrite moves data of every size both ways, in capsules and with R2Ts, with every
// combination of digests and with and without flow control.
func TestReadWrite(t *testing.T) {
	w := newWorld(t, Config{MaxH2CData: 16 << 10})
	for _, digest := range []tcp.Digest{0, tcp.HeaderDigest, tcp.DataDigest, tcp.HeaderDigest | tcp.DataDigest} {
		for _, attr := range []uint8{0, tcp.ConnectNoFlowControl} {
			t.Run(fmt.Sprintf("digest %d attr %d", digest, attr), func(t *testing.T) {
				w := &world{t: t, tgt: w.tgt, addr: w.addr, mem: w.mem}
				p := newPeer("a")
				p.digest, p.attr = digest, attr
				s := w.attach(p)
				defer s.close()
				for i, blocks := range []int{1, 8, 16, 17, 64, 256, 2048} {
					want := pattern(blocks*BlockSize, uint64(i)+100*uint64(digest)+1000*uint64(attr))
					cmd := writeBlocks(uint64(i), blocks)
					s.io[0].must(cmd, want)
					if got := w.mem.bytes(i*BlockSize, len(want)); !bytes.Equal(got, want) {
						t.Fatalf("%d blocks written by R2T differ", blocks)
					}
					if len(want) <= adminInCapsule {
						want = pattern(len(want), 77)
						cmd.SGL = tcp.InCapsule(len(want))
						s.io[0].must(cmd, want)
					}
					if got := s.io[0].must(readBlocks(uint64(i), blocks), nil).data; !bytes.Equal(got, want) {
						t.Fatalf("%d blocks read differ", blocks)
					}
				}
			})
		}
	}
}

func TestIOErrors(t *testing.T) {
	w := newWorld(t, Config{MaxData: 64 << 10})
	c := w.attach(newPeer("a")).io[0]
	end := uint64(w.mem.Size() / BlockSize)
	with := func(cmd tcp.Command, change func(*tcp.Command)) tcp.Command {
		change(&cmd)
		return cmd
	}
	data := make([]byte, BlockSize)
	tests := []struct {
		name string
		cmd  tcp.Command
		want tcp.Status
	}{
		{"other namespace", with(readBlocks(0, 1), func(c *tcp.Command) { c.NSID = 2 }), tcp.StatusInvalidNamespace},
		{"broadcast read", with(readBlocks(0, 1), func(c *tcp.Command) { c.NSID = tcp.BroadcastNSID }), tcp.StatusInvalidNamespace},
		{"past the end", readBlocks(end-1, 2), tcp.StatusLBARange},
		{"write past the end", writeBlocks(end, 1), tcp.StatusLBARange},
		{"address that wraps", writeBlocks(1<<64-1, 2), tcp.StatusLBARange},
		{"zeroes past the end", tcp.NewRW(tcp.OpWriteZeroes, nsid, end, 1), tcp.StatusLBARange},
		{"beyond MDTS", readBlocks(0, 129), tcp.StatusInvalidField},
		{"SGL too short", with(writeBlocks(0, 2), func(c *tcp.Command) { c.SGL.Length = 512 }), tcp.StatusSGLDataLength},
		{"SGL too long", with(readBlocks(0, 1), func(c *tcp.Command) { c.SGL.Length = 1 << 31 }), tcp.StatusSGLDataLength},
		{"read into a capsule", with(readBlocks(0, 1), func(c *tcp.Command) { c.SGL = tcp.InCapsule(512) }), tcp.StatusSGLDescriptorType},
		{"keyed SGL", with(writeBlocks(0, 1), func(c *tcp.Command) { c.SGL.ID = 0x40 }), tcp.StatusSGLDescriptorType},
		{"capsule offset", with(writeBlocks(0, 1), func(c *tcp.Command) { c.SGL = tcp.SGL{ID: 1, Length: 512, Address: 8} }), tcp.StatusSGLOffset},
		{"capsule shorter than its SGL", with(writeBlocks(0, 2), func(c *tcp.Command) { c.SGL = tcp.InCapsule(1024) }), tcp.StatusSGLDataLength},
		{"PRPs", with(readBlocks(0, 1), func(c *tcp.Command) { c.Flags = 0 }), tcp.StatusInvalidField},
		{"fused", with(readBlocks(0, 1), func(c *tcp.Command) { c.Flags |= 1 }), tcp.StatusInvalidField},
		{"compare", with(readBlocks(0, 1), func(c *tcp.Command) { c.Opcode = tcp.OpCompare }), tcp.StatusInvalidOpcode},
		{"DSM without its ranges", tcp.Command{Opcode: tcp.OpDSM, Flags: tcp.FlagSGL, NSID: 1, CDW10: 255, SGL: tcp.Transport(16)}, tcp.StatusSGLDataLength},
		{"DSM with too much", tcp.Command{Opcode: tcp.OpDSM, Flags: tcp.FlagSGL, NSID: 1, SGL: tcp.Transport(1 << 30)}, tcp.StatusSGLDataLength},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c.t = t
			c.wantStatus(tt.cmd, data, tt.want|tcp.DNR)
			c.must(readBlocks(end-1, 1), nil)
		})
	}
}

func TestStorageErrors(t *testing.T) {
	w := newWorld(t, Config{})
	c := w.attach(newPeer("a")).io[0]
	data := make([]byte, BlockSize)
	w.mem.fail(fmt.Errorf("write: %w", syscall.ENOSPC))
	c.wantStatus(writeBlocks(0, 1), data, tcp.StatusCapacity|tcp.DNR)
	w.mem.fail(errors.New("disk on fire"))
	c.wantStatus(writeBlocks(0, 1), data, tcp.StatusWriteFault|tcp.DNR)
	c.wantStatus(readBlocks(0, 1), nil, tcp.StatusUnrecoveredRead|tcp.DNR)
	c.wantStatus(tcp.Command{Opcode: tcp.OpFlush, Flags: tcp.FlagSGL, NSID: 1}, nil, tcp.StatusWriteFault|tcp.DNR)
	c.wantStatus(tcp.NewRW(tcp.OpWriteZeroes, nsid, 0, 1), nil, tcp.StatusWriteFault|tcp.DNR)
	w.mem.fail(nil)
	c.must(writeBlocks(0, 1), data)
}

func TestFlush(t *testing.T) {
	w := newWorld(t, Config{})
	c := w.attach(newPeer("a")).io[0]
	syncs := func() int { _, _, n := w.mem.usage(); return n }
	for i, id := range []uint32{nsid, tcp.BroadcastNSID} {
		c.must(tcp.Command{Opcode: tcp.OpFlush, Flags: tcp.FlagSGL, NSID: id}, nil)
		if got := syncs(); got != i+1 {
			t.Errorf("%d syncs after %d flushes", got, i+1)
		}
	}
	cmd := writeBlocks(0, 1)
	c.must(cmd, make([]byte, BlockSize))
	if got := syncs(); got != 2 {
		t.Errorf("a plain write made sync number %d", got)
	}
	cmd.CDW12 |= tcp.FlagFUA
	c.must(cmd, make([]byte, BlockSize))
	if got := syncs(); got != 3 {
		t.Errorf("%d syncs after a write with FUA, want 3", got)
	}
}

// sparse is a memory that can zero and discard.
type sparse struct {
	*memory
	unsupported bool
}

func (s sparse) Zero(off, n int64) error    { return s.fill(off, n, 0) }
func (s sparse) Discard(off, n int64) error { return s.fill(off, n, 0xdd) }

func (s sparse) fill(off, n int64, v byte) error {
	if s.unsupported {
		return errors.ErrUnsupported
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	copy(s.b[off:], bytes.Repeat([]byte{v}, int(n)))
	return nil
}

// TestZeroAndDeallocate: the range changes, exactly that range, and the journal is told of it.
func TestZeroAndDeallocate(t *testing.T) {
	const blocks = 1200 // more than one chunk of zeroes
	ranges := append(tcp.DSMRange{LBA: 5, Blocks: 3}.Append(nil), tcp.DSMRange{LBA: 20, Blocks: 1}.Append(nil)...)
	ranges = append(ranges, make([]byte, 4096-len(ranges))...) // as kernels do
	dsm := tcp.Command{Opcode: tcp.OpDSM, Flags: tcp.FlagSGL, NSID: nsid, CDW10: 1, CDW11: tcp.DSMDeallocate, SGL: tcp.Transport(4096)}
	tests := []struct {
		name    string
		storage func(*memory) Storage
		freed   byte
		discard [][2]int64
	}{
		{"plain", func(m *memory) Storage { return m }, 0xff, nil},
		{"sparse", func(m *memory) Storage { return sparse{memory: m} }, 0xdd, [][2]int64{{5 * 512, 3 * 512}, {20 * 512, 512}}},
		{"unsupported", func(m *memory) Storage { return sparse{m, true} }, 0xff, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			var journal [][2]int64
			w := newWorld(t, Config{OnWrite: func(_, _ string, off, n int64) {
				mu.Lock()
				defer mu.Unlock()
				journal = append(journal, [2]int64{off, n})
			}})
			w.tgt.Remove(testNQN)
			if err := errors.Join(w.tgt.Add(Subsystem{NQN: testNQN, Storage: tt.storage(w.mem)}), w.port.Link(testNQN)); err != nil {
				t.Fatal(err)
			}
			c := w.attach(newPeer("a")).io[0]
			for i := range w.mem.b {
				w.mem.b[i] = 0xff
			}
			want := w.mem.bytes(0, len(w.mem.b))
			c.must(tcp.NewRW(tcp.OpWriteZeroes, nsid, 100, blocks), nil)
			clear(want[100*BlockSize:][:blocks*BlockSize])
			c.must(dsm, ranges)
			for i := range 512 {
				for _, lba := range []int{5, 6, 7, 20} {
					want[lba*BlockSize+i] = tt.freed
				}
			}
			if got := w.mem.bytes(0, len(want)); !bytes.Equal(got, want) {
				t.Error("the wrong bytes changed")
			}
			if want := append([][2]int64{{100 * BlockSize, blocks * BlockSize}}, tt.discard...); !slices.Equal(journal, want) {
				t.Errorf("journal %v, want %v", journal, want)
			}
			dsm := dsm
			dsm.CDW11 = 3 // only hints
			c.must(dsm, ranges)
			dsm.CDW11 = tcp.DSMDeallocate
			copy(ranges, tcp.DSMRange{LBA: 1 << 40, Blocks: 1}.Append(nil))
			c.wantStatus(dsm, ranges, tcp.StatusLBARange|tcp.DNR)
			copy(ranges, tcp.DSMRange{LBA: 5, Blocks: 3}.Append(nil))
		})
	}
}

// TestConcurrency: commands of one queue are in the storage at the same time, as many as there are
// workers and never more.
func TestConcurrency(t *testing.T) {
	const workers = 3
	w := newWorld(t, Config{Workers: workers})
	c := w.attach(newPeer("a")).io[0]
	entered, release := w.mem.block()
	var all []*exchange
	for i := range 10 {
		all = append(all, c.start(readBlocks(uint64(i), 1), nil))
	}
	for range workers {
		<-entered
	}
	release()
	for _, x := range all {
		if r := c.wait(x); r.err != nil || r.cqe.Status != 0 {
			t.Fatalf("read: %v, %v", r.cqe.Status, r.err)
		}
	}
	if _, most, _ := w.mem.usage(); most != workers {
		t.Errorf("%d calls at a time, want %d", most, workers)
	}
}

// TestBufferBudget: a connection whose writes wait for data does not take more buffers than it may,
// and the rest of its commands follow as buffers come free.
func TestBufferBudget(t *testing.T) {
	w := newWorld(t, Config{MaxData: 64 << 10, BufferBytes: 128 << 10})
	c := w.attach(newPeer("a")).io[0]
	a, b := c.hold(writeBlocks(0, 128)), c.hold(writeBlocks(128, 128))
	ra, rb := <-a.r2t, <-b.r2t // both have their buffers
	third := c.start(writeBlocks(256, 128), pattern(64<<10, 3))
	fourth := c.start(readBlocks(0, 1), nil)
	c.must(tcp.Command{Opcode: tcp.OpFlush, Flags: tcp.FlagSGL, NSID: 1}, nil) // needs none
	for _, x := range []*exchange{third, fourth} {
		select {
		case r := <-x.end:
			t.Fatalf("a command without a buffer ended: %+v", r)
		default:
		}
	}
	c.supply(ra, pattern(64<<10, 1))
	for _, x := range []*exchange{a, third, fourth} {
		if r := c.wait(x); r.err != nil || r.cqe.Status != 0 {
			t.Fatalf("%v, %v", r.cqe.Status, r.err)
		}
	}
	c.supply(rb, pattern(64<<10, 2))
	if r := c.wait(b); r.err != nil || r.cqe.Status != 0 {
		t.Fatalf("%v, %v", r.cqe.Status, r.err)
	}
	for i := range 3 {
		if got := w.mem.bytes(i<<16, 64<<10); !bytes.Equal(got, pattern(64<<10, uint64([]int{1, 2, 3}[i]))) {
			t.Errorf("write %d differs", i)
		}
	}
}
