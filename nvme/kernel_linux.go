// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"unsafe"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// HostKernel returns the Kernel of the machine this runs on.
func HostKernel() Kernel { return linux{} }

type linux struct{}

func (linux) Stat(path string, follow bool) (fs.FileMode, DevNum, error) {
	flags := unix.AT_STATX_DONT_SYNC | unix.AT_NO_AUTOMOUNT
	if !follow {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, flags, unix.STATX_TYPE|unix.STATX_MODE, &st); err != nil {
		return 0, DevNum{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	mode := fs.FileMode(st.Mode & 0o777)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return mode, DevNum{}, nil
	case unix.S_IFDIR:
		return mode | fs.ModeDir, DevNum{}, nil
	case unix.S_IFBLK:
		return mode | fs.ModeDevice, DevNum{Major: st.Rdev_major, Minor: st.Rdev_minor}, nil
	}
	return mode | fs.ModeIrregular, DevNum{}, nil
}

const directAlign = 4096

func (linux) ReadDirect(path string, p []byte, offset int64) (err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	raw := make([]byte, len(p)+directAlign)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(raw))) % directAlign)
	buf := raw[skip : skip+len(p)]
	// A short read would end at a place that is not aligned, so there is one read only.
	n, err := f.ReadAt(buf, offset)
	if n < len(buf) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read %d bytes at %d: %w", len(p), offset, err)
	}
	copy(p, buf)
	return nil
}

func (linux) Claim(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_EXCL|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "claim", Path: path, Err: err}
	}
	return unix.Close(fd)
}

func (linux) SetReadOnly(path string, readOnly bool) (err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	value := 0
	if readOnly {
		value = 1
	}
	if err := unix.IoctlSetPointerInt(fd, unix.BLKROSET, value); err != nil {
		return &fs.PathError{Op: "set read-only", Path: path, Err: err}
	}
	return nil
}

func (linux) MakeNode(path string, num DevNum, perm fs.FileMode) error {
	if err := unix.Mknod(path, unix.S_IFBLK|uint32(perm.Perm()), int(unix.Mkdev(num.Major, num.Minor))); err != nil {
		return &fs.PathError{Op: "mknod", Path: path, Err: err}
	}
	return os.Chmod(path, perm.Perm()) // the umask took some of it
}

// statfs returns how full the filesystem at a path is.
func statfs(path string) (Usage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Usage{}, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	size := st.Frsize
	if size == 0 {
		size = st.Bsize
	}
	return Usage{
		Bytes:      int64(st.Blocks) * size,
		BytesFree:  int64(st.Bavail) * size,
		BytesUsed:  int64(st.Blocks-st.Bfree) * size,
		Inodes:     int64(st.Files),
		InodesFree: int64(st.Ffree),
		InodesUsed: int64(st.Files - st.Ffree),
	}, nil
}

// readMounts reads a mountinfo file.
func readMounts(path string) (mounts []mountPoint, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the list of mounts: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	list, err := mountinfo.GetMountsFromReader(f, nil)
	if err != nil {
		return nil, fmt.Errorf("read the list of mounts: %w", err)
	}
	for _, m := range list {
		mounts = append(mounts, mountPoint{
			path:     m.Mountpoint,
			num:      DevNum{Major: uint32(m.Major), Minor: uint32(m.Minor)},
			readOnly: hasOption(m.Options, "ro") || hasOption(m.VFSOptions, "ro"),
			fstype:   m.FSType,
			source:   m.Source,
			own:      m.Options,
			super:    m.VFSOptions,
		})
	}
	return mounts, nil
}
