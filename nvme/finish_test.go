// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme_test

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

// fsck makes the tools find a filesystem, which fsck does not find whole unless the status is 0.
func (f *formatTest) fsck(found string, status int) {
	f.blkid(found)
	before := f.tool
	f.tool = func(command string) (string, error) {
		if strings.HasPrefix(command, "fsck.ext4") && status != 0 {
			return "words", exit(status)
		}
		return before(command)
	}
}

// TestFinishesFormat: what an mkfs has left half done is done again; what it has finished is kept.
func TestFinishesFormat(t *testing.T) {
	mkfsExt4, mkfsXFS := "mkfs.ext4 -F -m0 /dev/nvme0n1", "mkfs.xfs -f /dev/nvme0n1"
	check, mountExt4, mountXFS := "fsck.ext4 -f -n /dev/nvme0n1", "mount ext4  /dev/nvme0n1 /staging", "mount xfs  /dev/nvme0n1 /staging"
	for name, c := range map[string]struct {
		fs      nvme.Filesystem
		prepare func(f *formatTest)
		want    error
		ran     []string // besides blkid
	}{
		"no superblock":         {ext4, func(f *formatTest) { f.superblock("start") }, nil, []string{mkfsExt4, mountExt4}},
		"blkid takes it for no": {ext4, func(f *formatTest) { f.superblock("ext4") }, nil, []string{mkfsExt4, mountExt4}},
		"whole":                 {ext4, func(f *formatTest) { f.superblock("ext4"); f.fsck("ext4", 0) }, nil, []string{check, mountExt4}},
		"a superblock alone":    {ext4, func(f *formatTest) { f.superblock("ext4"); f.fsck("ext4", 8) }, nil, []string{check, mkfsExt4, mountExt4}},
		"not whole":             {ext4, func(f *formatTest) { f.superblock("ext4"); f.fsck("ext4", 4) }, nil, []string{check, mkfsExt4, mountExt4}},
		"fsck does not run":     {ext4, func(f *formatTest) { f.superblock("ext4"); f.fsck("ext4", 16) }, actors.ErrUnavailable, []string{check}},
		"xfs whole":             {xfs, func(f *formatTest) { f.superblock("xfs"); f.blkid("xfs") }, nil, []string{mountXFS}},
		"xfs in progress": {xfs, func(f *formatTest) {
			f.superblock("xfs")
			f.blkid("xfs")
			f.disk.data[126] = []byte{1}
		}, nil, []string{mkfsXFS, mountXFS}},
		"blank":              {ext4, func(*formatTest) {}, nil, []string{mkfsExt4, mountExt4}},
		"another filesystem": {ext4, func(f *formatTest) { f.superblock("xfs"); f.blkid("xfs") }, actors.ErrPrecondition, nil},
		"a volume manager":   {ext4, func(f *formatTest) { f.superblock("start"); f.blkid("LVM2_member") }, actors.ErrPrecondition, nil},
		"mkfs still at work": {ext4, func(f *formatTest) { f.superblock("start"); f.claimErr = syscall.EBUSY }, actors.ErrUnavailable, nil},
		"claim fails":        {ext4, func(f *formatTest) { f.superblock("start"); f.claimErr = syscall.EIO }, actors.ErrUnavailable, nil},
		"read-only":          {ext4, func(f *formatTest) { f.superblock("start"); f.dev.ReadOnly = true }, actors.ErrPrecondition, nil},
		"reads fail":         {ext4, func(f *formatTest) { f.disk.readErr = syscall.EIO }, actors.ErrUnavailable, nil},
		"xfs, second read fails": {xfs, func(f *formatTest) {
			f.superblock("xfs")
			f.blkid("xfs")
			f.disk.onRead = func(reads int) {
				if reads == 3 {
					f.disk.readErr = syscall.EIO
				}
			}
		}, actors.ErrUnavailable, nil},
		"not live after the look": {ext4, func(f *formatTest) { f.superblock("start"); f.lose(2) }, actors.ErrUnavailable, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFormatTest(t)
			c.prepare(f)
			c.fs.Unfinished = true
			wantKind(t, f.mount(t.Context(), c.fs), c.want)
			ran := slices.DeleteFunc(f.commands, func(command string) bool { return strings.HasPrefix(command, "blkid") })
			if !slices.Equal(ran, c.ran) {
				t.Errorf("ran %q, want %q", ran, c.ran)
			}
		})
	}
	// Nobody has said that it is unfinished.
	f := newFormatTest(t)
	f.superblock("start")
	wantKind(t, f.mount(t.Context(), ext4), actors.ErrPrecondition)
}

// TestFormatIsNoted: mkfs is not begun before that is noted, and not at all where it cannot be.
func TestFormatIsNoted(t *testing.T) {
	for _, unfinished := range []bool{false, true} {
		f := newFormatTest(t)
		fs := nvme.Filesystem{Type: "ext4", Unfinished: unfinished}
		if unfinished {
			f.superblock("start")
		}
		fs.Begin = func() error { return errors.Join(errors.New("disk is full"), actors.ErrUnavailable) }
		wantKind(t, f.mount(t.Context(), fs), actors.ErrUnavailable)
		if f.ran("mkfs") || f.ran("mount") {
			t.Errorf("ran %q", f.commands)
		}
		noted := 0
		fs.Begin = func() error {
			if noted++; f.ran("mkfs") {
				t.Error("mkfs ran before it was noted")
			}
			return nil
		}
		wantKind(t, f.mount(t.Context(), fs), nil)
		if noted != 1 || !f.ran("mkfs") {
			t.Errorf("noted %d times, ran %q", noted, f.commands)
		}
	}
	f := newFormatTest(t)
	f.superblock("ext4")
	f.blkid("ext4")
	wantKind(t, f.mount(t.Context(), nvme.Filesystem{Type: "ext4", Begin: func() error {
		t.Error("nothing is formatted, and noted all the same")
		return nil
	}}), nil)
}
