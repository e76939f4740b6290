// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
)

// A backing is the part of a file that a disk's blocks are in. It implements target.Storage,
// target.Zeroer and target.Discarder.
type backing struct {
	file   *os.File
	offset int64
	size   atomic.Int64 // of the disk, in bytes
}

// open opens the file of a row.
func (s *store) open(d disk) (*backing, error) {
	f, err := s.root.OpenFile(filepath.FromSlash(d.File), os.O_RDWR, 0)
	if err != nil {
		return nil, failure("file of the disk cannot be opened")
	}
	b := &backing{file: f, offset: d.Offset}
	b.size.Store(d.bytes())
	return b, nil
}

// ReadAt reads blocks.
func (b *backing) ReadAt(p []byte, off int64) (int, error) { return b.file.ReadAt(p, b.offset+off) }

// WriteAt writes blocks.
func (b *backing) WriteAt(p []byte, off int64) (int, error) { return b.file.WriteAt(p, b.offset+off) }

// Sync makes writes durable.
func (b *backing) Sync() error { return b.file.Sync() }

// Size returns the size of the disk in bytes.
func (b *backing) Size() int64 { return b.size.Load() }

// Zero makes blocks read as zeroes and gives their room back to the machine, where it can.
func (b *backing) Zero(off, n int64) error {
	err := punch(b.file, b.offset+off, n)
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	zeroes := make([]byte, min(n, 1<<20))
	for n > 0 {
		step := min(n, int64(len(zeroes)))
		if _, err := b.file.WriteAt(zeroes[:step], b.offset+off); err != nil {
			return err
		}
		off, n = off+step, n-step
	}
	return nil
}

// Discard gives the room of blocks back to the machine, where it can.
func (b *backing) Discard(off, n int64) error {
	err := punch(b.file, b.offset+off, n)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

func (b *backing) close() error { return b.file.Close() }
