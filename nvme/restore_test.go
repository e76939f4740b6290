// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme_test

import (
	"slices"
	"syscall"
	"testing"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

const uuid1 = "01020304-0506-0708-090a-0b0c0d0e0f10"

// holds puts a filesystem with uuid1 on the device, or something else.
func (f *formatTest) holds(kind string) {
	id := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	f.superblock(kind)
	switch kind {
	case "ext4":
		f.disk.data[1024+104] = id
	case "xfs":
		f.disk.data[32] = id
	}
}

func TestIdentify(t *testing.T) {
	for kind, want := range map[string]string{"ext4": "ext4 " + uuid1, "xfs": "xfs " + uuid1} {
		f := newFormatTest(t)
		f.holds(kind)
		got, err := f.mounts().Identify(t.Context(), f.dev)
		wantKind(t, err, nil)
		if got != want {
			t.Errorf("%s: %q", kind, got)
		}
	}
	for name, c := range map[string]struct {
		prepare func(f *formatTest)
		want    error
	}{
		"blank":           {func(*formatTest) {}, actors.ErrPrecondition},
		"something else":  {func(f *formatTest) { f.holds("start") }, actors.ErrPrecondition},
		"without a UUID":  {func(f *formatTest) { f.superblock("ext4") }, actors.ErrPrecondition},
		"cannot be read":  {func(f *formatTest) { f.holds("ext4"); f.disk.readErr = syscall.EIO }, actors.ErrUnavailable},
		"xfs, without id": {func(f *formatTest) { f.superblock("xfs") }, actors.ErrPrecondition},
	} {
		f := newFormatTest(t)
		c.prepare(f)
		got, err := f.mounts().Identify(t.Context(), f.dev)
		if wantKind(t, err, c.want); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A known filesystem is mounted, with no tool run on the device before.
func TestRestore(t *testing.T) {
	f := newFormatTest(t)
	f.holds("ext4")
	fs := nvme.Filesystem{Type: "ext4", Flags: []string{"noatime"}, ReadOnly: true}
	wantKind(t, f.mounts().Restore(t.Context(), f.dev, f.dir, fs, "ext4 "+uuid1), nil)
	if want := []string{"mount ext4 noatime,ro /dev/nvme0n1 /staging"}; !slices.Equal(f.commands, want) {
		t.Errorf("ran %q, want %q", f.commands, want)
	}
}

// TestRestoresNothingElse: P7. Whatever is not the known filesystem is left alone, a blank device too.
func TestRestoresNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(f *formatTest)
		want    error
	}{
		"blank":            {func(*formatTest) {}, actors.ErrPrecondition},
		"another type":     {func(f *formatTest) { f.holds("xfs") }, actors.ErrPrecondition},
		"another UUID":     {func(f *formatTest) { f.holds("ext4"); f.disk.data[1024+104] = []byte{9} }, actors.ErrPrecondition},
		"something else":   {func(f *formatTest) { f.holds("end") }, actors.ErrPrecondition},
		"cannot be read":   {func(f *formatTest) { f.holds("ext4"); f.disk.readErr = syscall.EIO }, actors.ErrUnavailable},
		"not live":         {func(f *formatTest) { f.holds("ext4"); f.write("sys/class/nvme/nvme0/state", "connecting\n") }, actors.ErrUnavailable},
		"not live by then": {func(f *formatTest) { f.holds("ext4"); f.lose(1) }, actors.ErrUnavailable},
		"other size":       {func(f *formatTest) { f.holds("ext4"); f.dev.Size = 2 * mib }, actors.ErrUnavailable},
		"name of another device": {func(f *formatTest) {
			f.holds("ext4")
			f.blocks[f.dev.Path] = nvme.DevNum{Major: 259, Minor: 9}
		}, actors.ErrPrecondition},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFormatTest(t)
			c.prepare(f)
			wantKind(t, f.mounts().Restore(t.Context(), f.dev, f.dir, ext4, "ext4 "+uuid1), c.want)
			if len(f.commands) > 0 {
				t.Errorf("ran %q", f.commands)
			}
		})
	}
}
