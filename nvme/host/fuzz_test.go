// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// encode returns PDUs as they are on the wire.
func encode(f *testing.F, write func(w *tcp.Writer) error) []byte {
	f.Helper()
	var b bytes.Buffer
	w := tcp.NewWriter(&b)
	if err := errors.Join(write(w), w.Flush()); err != nil {
		f.Fatal(err)
	}
	return b.Bytes()
}

// FuzzReceive lets a target say anything to a queue with three commands in flight. Whatever it says,
// each command has one answer in the end, a read succeeds only with all of its data, and nothing
// goes on running.
func FuzzReceive(f *testing.F) {
	done := func(cid uint16) tcp.CapsuleResp { return tcp.CapsuleResp{Completion: tcp.Completion{CID: cid}} }
	f.Add([]byte{})
	f.Add([]byte("SSH-2.0-ROSSSH\r\n"))
	f.Add(encode(f, func(w *tcp.Writer) error {
		return errors.Join(
			w.WritePDU(tcp.R2T{CID: 1, TTag: 7, Length: 4096}, nil), w.WritePDU(tcp.R2T{CID: 1, TTag: 7, Offset: 4096, Length: 12288}, nil),
			w.WritePDU(tcp.C2HData{CID: 0, Length: 1024, Last: true}, bytes.Repeat([]byte{1}, 1024)),
			w.WritePDU(done(0), nil), w.WritePDU(done(1), nil), w.WritePDU(done(2), nil),
		)
	}))
	f.Add(encode(f, func(w *tcp.Writer) error {
		return errors.Join(
			w.WritePDU(tcp.C2HData{CID: 0, Length: 1024, Last: true, Success: true}, bytes.Repeat([]byte{1}, 1024)), w.WritePDU(done(0), nil),
		)
	}))
	f.Add(encode(f, func(w *tcp.Writer) error { return w.WritePDU(done(1), nil) }))
	f.Add(encode(f, func(w *tcp.Writer) error {
		return w.WritePDU(tcp.TermReq{FromController: true, Status: tcp.FatalLimit, Header: make([]byte, 24)}, nil)
	}))
	f.Fuzz(func(t *testing.T, stream []byte) {
		ours, theirs := net.Pipe()
		w := &wire{
			conn: ours, r: tcp.NewReader(ours, tcp.Limits{MaxData: maxTransfer}), w: tcp.NewWriter(ours), maxH2CData: 4096,
		}
		q := newQueue(w, 1, 3, 0, func(error) {})
		commands := []*command{
			newCommand("read", tcp.NewRW(tcp.OpRead, 1, 0, 2)), newCommand("write", tcp.NewRW(tcp.OpWrite, 1, 0, 32)),
			newCommand("flush", tcp.Command{Opcode: tcp.OpFlush}),
		}
		commands[0].in, commands[0].data, commands[1].data = true, make([]byte, 1024), make([]byte, 16<<10)
		for _, c := range commands {
			if err := q.start(context.Background(), c); err != nil {
				t.Fatal(err)
			}
		}
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		_, _ = theirs.Write(stream)
		_ = theirs.Close()
		<-q.gone
		for _, c := range commands {
			r := <-c.result
			if c.in && r.status(c.op) == nil && c.moved != len(c.data) {
				t.Errorf("%s succeeded with %d bytes", c.op, c.moved)
			}
		}
		if n := len(q.slots.free); n != cap(q.slots.free) {
			t.Errorf("%d of %d places are free", n, cap(q.slots.free))
		}
	})
}
