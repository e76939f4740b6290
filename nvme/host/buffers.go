// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"math/bits"
	"sync"
)

// pools keeps buffers of up to maxTransfer bytes, by powers of two. Commands have buffers of their
// own, so that a caller whose context ends has its memory back at once, whatever the target still
// sends.
type pools [bits.UintSize]sync.Pool

// A buffer is put back only when nothing refers to it any more.
type buffer struct {
	b []byte
}

// get returns a buffer of n bytes with any content. n is positive.
func (p *pools) get(n int) *buffer {
	class := bits.Len(uint(n - 1))
	if b, ok := p[class].Get().(*buffer); ok {
		b.b = b.b[:n]
		return b
	}
	return &buffer{b: make([]byte, n, 1<<class)}
}

func (p *pools) put(b *buffer) { p[bits.Len(uint(cap(b.b)-1))].Put(b) }
