// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/rds-csi/rds-csi/nvme/target"
)

func BenchmarkRead(b *testing.B) {
	for _, bb := range []struct {
		size, depth int
	}{{4 << 10, 1}, {4 << 10, 16}, {1 << 20, 1}} {
		b.Run(fmt.Sprintf("size=%d/depth=%d", bb.size, bb.depth), func(b *testing.B) {
			run(b, bb.size, bb.depth, func(c *Controller, p []byte, off int64) error { return second(c.ReadAt(p, off)) })
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, bb := range []struct {
		size, depth int
	}{{4 << 10, 1}, {4 << 10, 16}, {1 << 20, 1}} {
		b.Run(fmt.Sprintf("size=%d/depth=%d", bb.size, bb.depth), func(b *testing.B) {
			run(b, bb.size, bb.depth, func(c *Controller, p []byte, off int64) error { return second(c.WriteAt(p, off)) })
		})
	}
}

// run does I/O against the target over loopback, with depth callers at a time.
func run(b *testing.B, size, depth int, io func(c *Controller, p []byte, off int64) error) {
	box := socketBox(b, target.Config{})
	c := box.connect(b, box.config(1))
	defer func() { _ = c.Close() }()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	results := make(chan error, depth)
	for range depth {
		go func() {
			p := make([]byte, size)
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					results <- nil
					return
				}
				if err := io(c, p, n*int64(size)%testDisk); err != nil {
					results <- err
					return
				}
			}
		}()
	}
	for range depth {
		if err := <-results; err != nil {
			b.Error(err)
		}
	}
}
