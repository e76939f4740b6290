// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"bytes"
	"context"
	"net"
	"testing"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// FuzzConnection sends a connected I/O or admin queue whatever it likes: the target neither panics
// nor hangs, and ends the connection when the host does.
func FuzzConnection(f *testing.F) {
	record := func(pdus ...tcp.PDU) []byte {
		var b bytes.Buffer
		w := tcp.NewWriter(&b)
		for _, p := range pdus {
			var data []byte
			switch p := p.(type) {
			case tcp.CapsuleCmd:
				if p.Command.SGL.ID == tcp.SGLInCapsule {
					data = make([]byte, p.Command.SGL.Length)
				}
			case tcp.H2CData:
				data = make([]byte, p.Length)
			}
			if err := w.WritePDU(p, data); err != nil {
				f.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			f.Fatal(err)
		}
		return b.Bytes()
	}
	capsule := func(c tcp.Command) tcp.PDU { return tcp.CapsuleCmd{Command: c} }
	inline := writeBlocks(1, 1)
	inline.SGL = tcp.InCapsule(BlockSize)
	f.Add(uint16(1), record(capsule(inline), capsule(readBlocks(0, 3)), capsule(tcp.NewRW(tcp.OpWriteZeroes, 1, 0, 9))))
	f.Add(uint16(1), record(capsule(writeBlocks(1, 2)), tcp.H2CData{Length: 512}, tcp.H2CData{Offset: 512, Length: 512, Last: true}))
	f.Add(uint16(1), record(capsule(tcp.Command{Opcode: tcp.OpDSM, Flags: tcp.FlagSGL, NSID: 1, CDW11: 4, SGL: tcp.InCapsule(16)})))
	f.Add(uint16(0), record(capsule(tcp.NewIdentify(tcp.CNSController, 0)), capsule(logCommand(tcp.LogPage{ID: tcp.LogEffects, Length: 4096}))))
	f.Add(uint16(0), record(capsule(awaitEvent), capsule(tcp.Command{Opcode: tcp.OpAbort, Flags: tcp.FlagSGL})))
	f.Add(uint16(0), record(capsule(tcp.Property{Offset: tcp.PropCC}.Set()), tcp.TermReq{}))

	f.Fuzz(func(t *testing.T, qid uint16, in []byte) {
		tgt := New(Config{MaxData: 16 << 10, BufferBytes: 16 << 10, Workers: 1})
		defer tgt.Close()
		port, err := tgt.NewPort(1)
		if err != nil {
			t.Fatal(err)
		}
		if err := tgt.Add(Subsystem{NQN: testNQN, Storage: sparse{memory: newMemory(64 << 10)}}); err != nil {
			t.Fatal(err)
		}
		if err := port.Link(testNQN); err != nil {
			t.Fatal(err)
		}
		l := pipes{make(chan net.Conn), make(chan struct{})}
		go func() { _ = port.Serve(context.Background(), l) }()
		s := newPeer("a").attach(t, l.dial, testNQN, int(qid%2))
		c := s.admin
		if qid%2 == 1 {
			c = s.io[0]
		}
		c.stray.Store(true)
		_, _ = c.conn.Write(in) // the target may have enough of it before the end
		_ = c.conn.Close()
		c.wantEnd()
	})
}
