// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A File is a Storage in a regular file, sparse where nothing was written. The file may be grown
// by its name or its descriptor while it is used.
type File struct {
	*os.File
}

// Size returns the file's size, or 0 if it cannot be told.
func (f File) Size() int64 {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// Zero implements Zeroer: it frees the range, which reads as zeroes then.
func (f File) Zero(off, n int64) error { return f.punch(off, n) }

// Discard implements Discarder.
func (f File) Discard(off, n int64) error { return f.punch(off, n) }

func (f File) punch(off, n int64) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("punch %d bytes at %d of %q: %w", n, off, f.Name(), err)
	}
	cerr := raw.Control(func(fd uintptr) {
		for {
			err = unix.Fallocate(int(fd), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	})
	if cerr != nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("punch %d bytes at %d of %q: %w", n, off, f.Name(), err)
	}
	return nil
}
