// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"io"
	"sync"
)

// memory is a Storage whose calls can be held up and made to fail.
type memory struct {
	mu   sync.Mutex
	b    []byte
	busy int // calls inside
	most int // the most there were
	sync int // calls of Sync
	err  error
	hold chan struct{} // closed: calls go on; nil: they never wait
	in   chan struct{} // told of each call that waits
}

func newMemory(n int) *memory { return &memory{b: make([]byte, n)} }

// block makes calls wait until the returned function is called. entered receives one value for each.
func (m *memory) block() (entered <-chan struct{}, release func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	hold := make(chan struct{})
	m.hold, m.in = hold, make(chan struct{}, 1024)
	return m.in, sync.OnceFunc(func() {
		m.mu.Lock()
		m.hold = nil
		m.mu.Unlock()
		close(hold)
	})
}

func (m *memory) enter() {
	m.mu.Lock()
	m.busy++
	m.most = max(m.most, m.busy)
	hold, in := m.hold, m.in
	m.mu.Unlock()
	if hold != nil {
		in <- struct{}{}
		<-hold
	}
}

// leave runs f as the end of a call.
func (m *memory) leave(f func() (int, error)) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy--
	if m.err != nil {
		return 0, m.err
	}
	return f()
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	m.enter()
	return m.leave(func() (int, error) {
		if off > int64(len(m.b)) {
			return 0, io.EOF
		}
		n := copy(p, m.b[off:])
		if n < len(p) {
			return n, io.EOF
		}
		return n, nil
	})
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.enter()
	return m.leave(func() (int, error) {
		if off+int64(len(p)) > int64(len(m.b)) {
			return 0, io.ErrShortWrite
		}
		return copy(m.b[off:], p), nil
	})
}

func (m *memory) Sync() error {
	m.enter()
	_, err := m.leave(func() (int, error) { m.sync++; return 0, nil })
	return err
}

func (m *memory) Size() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.b))
}

func (m *memory) grow(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.b = append(m.b, make([]byte, n-len(m.b))...)
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// bytes returns a copy of a range.
func (m *memory) bytes(off, n int) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]byte(nil), m.b[off:off+n]...)
}

func (m *memory) usage() (busy, most, syncs int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.busy, m.most, m.sync
}
