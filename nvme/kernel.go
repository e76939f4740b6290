// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import (
	"io/fs"
	"slices"
	"strings"
)

// A Kernel does what takes system calls and rights that a test does not have. HostKernel is the
// real one. Paths are those of files and devices as this process sees them.
type Kernel interface {
	// Stat returns a file's mode and, of a block device, its number. It follows a link that the path
	// ends in only if it is told to, and asks no network filesystem.
	Stat(path string, follow bool) (fs.FileMode, DevNum, error)
	// ReadDirect fills p from a block device at an offset, past all caches. Both are multiples of
	// 4096.
	ReadDirect(path string, p []byte, offset int64) error
	// Claim opens a block device exclusively and closes it again. It fails with EBUSY while a
	// filesystem on it is mounted in any name space, or another driver holds it.
	Claim(path string) error
	// SetReadOnly makes a block device refuse writes, or take them.
	SetReadOnly(path string, readOnly bool) error
	// MakeNode makes a block device node at an absent path.
	MakeNode(path string, num DevNum, perm fs.FileMode) error
}

// A mountPoint is a line of mountinfo (Linux, proc_pid_mountinfo(5)).
type mountPoint struct {
	path     string
	num      DevNum // of the mounted filesystem's device
	readOnly bool   // the mount, or the filesystem
	fstype   string
	source   string // the device's path when it was mounted
	own      string // options of the mount
	super    string // options of the filesystem
}

func hasOption(options, want string) bool {
	return slices.Contains(strings.Split(options, ","), want)
}
