// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"math/bits"
	"sync"
)

// A bufferPool recycles buffers by powers of two, from a page on.
type bufferPool struct {
	classes [64]sync.Pool // of *[]byte
}

// classSize returns what a buffer of n bytes takes.
func classSize(n int) int {
	if n == 0 {
		return 0
	}
	return 1 << max(bits.Len(uint(n-1)), pageShift)
}

// get returns a buffer of n bytes with any content.
func (p *bufferPool) get(n int) []byte {
	size := classSize(n)
	if b, ok := p.classes[bits.Len(uint(size))].Get().(*[]byte); ok {
		return (*b)[:n]
	}
	return make([]byte, n, size)
}

// put takes back a buffer that get returned, or nil.
func (p *bufferPool) put(b []byte) {
	if b == nil {
		return
	}
	p.classes[bits.Len(uint(cap(b)))].Put(&b)
}
