// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"fmt"
	"testing"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// BenchmarkIO measures one I/O queue over the loopback, with the test's initiator on the same
// processors.
func BenchmarkIO(b *testing.B) {
	w := newWorld(b, Config{})
	for _, digest := range []tcp.Digest{0, tcp.HeaderDigest | tcp.DataDigest} {
		p := newPeer("a")
		p.digest = digest
		c := w.attach(p).io[0]
		for _, size := range []int{4 << 10, 1 << 20} {
			for _, depth := range []int{1, 16} {
				for name, cmd := range map[string]tcp.Command{"read": readBlocks(0, size/BlockSize), "write": writeBlocks(0, size/BlockSize)} {
					b.Run(fmt.Sprintf("%s/size=%dKiB/depth=%d/digest=%d", name, size>>10, depth, digest), func(b *testing.B) {
						benchmark(b, c, cmd, size, depth)
					})
				}
			}
		}
	}
}

func benchmark(b *testing.B, c *conn, cmd tcp.Command, size, depth int) {
	data := make([]byte, size)
	if cmd.Opcode == tcp.OpWrite && size <= adminInCapsule {
		cmd.SGL = tcp.InCapsule(size)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	window := make([]*exchange, depth)
	for i := 0; b.Loop(); i = (i + 1) % depth {
		if window[i] != nil {
			finished(b, c, window[i])
		}
		window[i] = c.start(cmd, data)
	}
	for _, x := range window {
		if x != nil {
			finished(b, c, x)
		}
	}
}

func finished(b *testing.B, c *conn, x *exchange) {
	b.Helper()
	if r := c.wait(x); r.err != nil || r.cqe.Status != 0 {
		b.Fatal(r.cqe.Status, r.err)
	}
}
