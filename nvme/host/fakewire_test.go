// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"net"
	"sync/atomic"
)

// A corrupter flips a bit in the data of the first PDU that is written through it.
type corrupter struct {
	net.Conn
	done atomic.Bool
}

func (c *corrupter) Write(p []byte) (int, error) {
	if len(p) > 100 && c.done.CompareAndSwap(false, true) {
		p = bytes.Clone(p)
		p[100] ^= 1
	}
	return c.Conn.Write(p)
}

// A stuck connection never sends: its Write returns when it is released, whether closed or not.
type stuck struct {
	net.Conn
	release chan struct{}
}

func newStuck() *stuck {
	ours, _ := net.Pipe()
	return &stuck{Conn: ours, release: make(chan struct{})}
}

func (s *stuck) Write([]byte) (int, error) {
	<-s.release
	return 0, net.ErrClosed
}
