// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

var (
	ext4 = nvme.Filesystem{Type: "ext4"}
	xfs  = nvme.Filesystem{Type: "xfs"}
)

// formatTest is a machine with a connected device and a directory to mount it at.
type formatTest struct {
	*machine
	disk *disk
	dev  nvme.Device
	dir  string
}

func newFormatTest(t *testing.T) *formatTest {
	t.Helper()
	m := newMachine(t)
	f := &formatTest{machine: m, disk: connected(t, m), dir: m.path("staging")}
	f.dev = nvme.Device{Path: m.path("dev/nvme0n1"), Num: num1, Size: 4 * mib}
	wantKind(t, os.Mkdir(f.dir, 0o750), nil)
	f.blkid("")
	return f
}

// blkid makes blkid find a filesystem, or none.
func (f *formatTest) blkid(found string) {
	f.tool = func(command string) (string, error) {
		switch {
		case !strings.HasPrefix(command, "blkid"):
			return "", nil
		case found == "":
			return "", exit(2)
		}
		return "TYPE=" + found + "\n", nil
	}
}

func (f *formatTest) superblock(kind string) {
	switch kind {
	case "ext4":
		f.disk.data[1024+56] = []byte{0x53, 0xEF}
	case "xfs":
		f.disk.data[0] = []byte("XFSB")
	case "start":
		f.disk.data[5000] = []byte{1}
	case "end":
		f.disk.data[4*mib-4096] = []byte("EFI PART")
	}
}

func (f *formatTest) ran(tool string) bool {
	return slices.ContainsFunc(f.commands, func(c string) bool { return strings.HasPrefix(c, tool) })
}

func (f *formatTest) mount(ctx context.Context, fs nvme.Filesystem) error {
	return f.mounts().Mount(ctx, f.dev, f.dir, fs)
}

func TestFormatsBlank(t *testing.T) {
	for _, fs := range []nvme.Filesystem{ext4, xfs} {
		f := newFormatTest(t)
		wantKind(t, f.mount(t.Context(), nvme.Filesystem{Type: fs.Type, Flags: []string{"noatime"}}), nil)
		mkfs := map[string]string{"ext4": "mkfs.ext4 -F -m0 /dev/nvme0n1", "xfs": "mkfs.xfs /dev/nvme0n1"}[fs.Type]
		blkid := "blkid -p -s TYPE -s PTTYPE -o export /dev/nvme0n1"
		want := []string{blkid, blkid, mkfs, "mount " + fs.Type + " noatime /dev/nvme0n1 /staging"}
		if !slices.Equal(f.commands, want) {
			t.Errorf("ran %q, want %q", f.commands, want)
		}
		if f.disk.reads != 4 {
			t.Errorf("%d direct reads, want both ends twice", f.disk.reads)
		}
	}
}

// TestNeverFormats: P7. Whatever casts a doubt on a device's blankness keeps mkfs away from it.
func TestNeverFormats(t *testing.T) {
	type prepare func(f *formatTest)
	for name, c := range map[string]struct {
		prepare prepare
		want    error
	}{
		"data at the start":            {func(f *formatTest) { f.superblock("start") }, actors.ErrPrecondition},
		"data at the end":              {func(f *formatTest) { f.superblock("end") }, actors.ErrPrecondition},
		"another filesystem":           {func(f *formatTest) { f.superblock("xfs"); f.blkid("xfs") }, actors.ErrPrecondition},
		"blkid misses ext4":            {func(f *formatTest) { f.superblock("ext4") }, actors.ErrPrecondition},
		"blkid sees what reads do not": {func(f *formatTest) { f.blkid("ext4") }, actors.ErrPrecondition},
		"blkid sees a volume manager":  {func(f *formatTest) { f.superblock("start"); f.blkid("LVM2_member") }, actors.ErrPrecondition},
		"ext3":                         {func(f *formatTest) { f.superblock("ext4"); f.blkid("ext3") }, actors.ErrPrecondition},
		"blkid fails":                  {func(f *formatTest) { f.tool = func(string) (string, error) { return "", exit(4) } }, actors.ErrUnavailable},
		"reads fail":                   {func(f *formatTest) { f.disk.readErr = syscall.EIO }, actors.ErrUnavailable},
		"second read fails": {func(f *formatTest) {
			f.disk.onRead = func(reads int) {
				if reads == 3 {
					f.disk.readErr = syscall.EIO
				}
			}
		}, actors.ErrUnavailable},
		"second look finds data": {func(f *formatTest) {
			f.disk.onRead = func(reads int) {
				if reads == 3 {
					f.superblock("start")
				}
			}
		}, actors.ErrPrecondition},
		"not live":                {func(f *formatTest) { f.write("sys/class/nvme/nvme0/state", "connecting\n") }, actors.ErrUnavailable},
		"not live at second look": {func(f *formatTest) { f.lose(2) }, actors.ErrUnavailable},
		"not live after it":       {func(f *formatTest) { f.lose(4) }, actors.ErrUnavailable},
		"in use":                  {func(f *formatTest) { f.claimErr = syscall.EBUSY }, actors.ErrUnavailable},
		"gone":                    {func(f *formatTest) { f.remove("sys/class/nvme/nvme0/nvme0n1") }, actors.ErrUnavailable},
		"other size":              {func(f *formatTest) { f.dev.Size = 2 * mib }, actors.ErrUnavailable},
		"tiny": {func(f *formatTest) {
			f.write("sys/class/nvme/nvme0/nvme0n1/size", "1\n")
			f.dev.Size = 512
		}, actors.ErrUnavailable},
		"name of another device": {func(f *formatTest) { f.blocks[f.dev.Path] = nvme.DevNum{Major: 259, Minor: 9} }, actors.ErrPrecondition},
		"read-only device":       {func(f *formatTest) { f.dev.ReadOnly = true }, actors.ErrPrecondition},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFormatTest(t)
			c.prepare(f)
			wantKind(t, f.mount(t.Context(), ext4), c.want)
			if f.ran("mkfs") || f.ran("mount") {
				t.Errorf("ran %q", f.commands)
			}
		})
	}
	t.Run("read-only mount", func(t *testing.T) {
		f := newFormatTest(t)
		wantKind(t, f.mount(t.Context(), nvme.Filesystem{Type: "ext4", ReadOnly: true}), actors.ErrPrecondition)
		if f.ran("mkfs") {
			t.Errorf("ran %q", f.commands)
		}
	})
	t.Run("type that is no tool", func(t *testing.T) {
		f := newFormatTest(t)
		wantKind(t, f.mount(t.Context(), nvme.Filesystem{Type: "../evil"}), actors.ErrInvalid)
		if len(f.commands) > 0 {
			t.Errorf("ran %q", f.commands)
		}
	})
}

// lose drops the connection at the n-th direct read.
func (f *formatTest) lose(n int) {
	f.disk.onRead = func(reads int) {
		if reads == n {
			f.write("sys/class/nvme/nvme0/state", "connecting\n")
		}
	}
}

func TestMountsWhatIsThere(t *testing.T) {
	for name, c := range map[string]struct {
		fs   nvme.Filesystem
		dev  bool // read-only
		want []string
	}{
		"ext4":              {ext4, false, []string{"fsck -a /dev/nvme0n1", "mount ext4  /dev/nvme0n1 /staging"}},
		"xfs":               {xfs, false, []string{"mount xfs  /dev/nvme0n1 /staging"}},
		"read-only":         {nvme.Filesystem{Type: "ext4", ReadOnly: true}, true, []string{"mount ext4 ro /dev/nvme0n1 /staging"}},
		"read-only by flag": {nvme.Filesystem{Type: "ext4", ReadOnly: true, Flags: []string{"ro"}}, false, []string{"mount ext4 ro /dev/nvme0n1 /staging"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFormatTest(t)
			f.superblock(c.fs.Type)
			f.blkid(c.fs.Type)
			f.dev.ReadOnly = c.dev
			wantKind(t, f.mount(t.Context(), c.fs), nil)
			if got := f.commands[1:]; !slices.Equal(got, c.want) {
				t.Errorf("ran %q, want %q", got, c.want)
			}
			entry, err := f.mounts().Inspect(t.Context(), f.dir)
			wantKind(t, err, nil)
			if want := (nvme.Entry{Kind: nvme.KindDir, Mounted: true, Num: num1, ReadOnly: c.fs.ReadOnly}); entry != want {
				t.Errorf("%+v, want %+v", entry, want)
			}
		})
	}
}

// TestMountOfAnotherDevice: by the time that mount opens it a device's name may be another volume's.
func TestMountOfAnotherDevice(t *testing.T) {
	f := newFormatTest(t)
	f.superblock("ext4")
	f.blkid("ext4")
	f.misnumber = true
	wantKind(t, f.mount(t.Context(), ext4), actors.ErrUnavailable)
	if entry, err := f.mounts().Inspect(t.Context(), f.dir); err != nil || entry.Mounted {
		t.Errorf("another volume's device is mounted: %+v, %v", entry, err)
	}
}

func TestFsck(t *testing.T) {
	for status, want := range map[int]error{
		1: nil, 2: nil, 3: nil, 4: actors.ErrPrecondition, 5: actors.ErrPrecondition, 8: actors.ErrUnavailable, 12: actors.ErrUnavailable, 127: actors.ErrUnavailable,
	} {
		f := newFormatTest(t)
		f.superblock("ext4")
		f.tool = func(command string) (string, error) {
			switch {
			case strings.HasPrefix(command, "fsck"):
				return "words", exit(status)
			case strings.HasPrefix(command, "blkid"):
				return "TYPE=ext4\n", nil
			}
			return "", nil
		}
		err := f.mount(t.Context(), ext4)
		wantKind(t, err, want)
		if f.ran("mount") != (want == nil) {
			t.Errorf("status %d: ran %q", status, f.commands)
		}
	}
}

func TestInspect(t *testing.T) {
	f := newFormatTest(t)
	mm := f.mounts()
	f.write("file", "")
	wantKind(t, os.Symlink(f.dir, f.path("link")), nil)
	wantKind(t, os.Mkdir(f.path("staging/in"), 0o750), nil)
	wantKind(t, f.mounted("self", num1, f.path("staging/in"), "rw"), nil)
	wantKind(t, f.mounted("self", nvme.DevNum{Major: 259, Minor: 77}, f.path("staging/in"), "ro"), nil)
	for path, want := range map[string]nvme.Entry{
		"absent":      {},
		"absent/deep": {},
		"file":        {Kind: nvme.KindOther},
		"link":        {Kind: nvme.KindOther},
		"staging":     {Kind: nvme.KindDir},
		"dev/nvme0n1": {Kind: nvme.KindBlock, Num: num1},
		// The topmost of two mounts, whose device is gone, through a link in the path.
		"link/in": {Kind: nvme.KindDir, Mounted: true, Num: nvme.DevNum{Major: 259, Minor: 77}, ReadOnly: true, Stale: true},
	} {
		got, err := mm.Inspect(t.Context(), f.path(path))
		wantKind(t, err, nil)
		if got != want {
			t.Errorf("%s: %+v, want %+v", path, got, want)
		}
	}
	wantKind(t, mm.Unmount(t.Context(), f.path("link/in")), nil)
	if got, err := mm.Inspect(t.Context(), f.path("staging/in")); err != nil || got != (nvme.Entry{Kind: nvme.KindDir}) {
		t.Errorf("after unmounting both: %+v, %v", got, err)
	}
	wantKind(t, mm.Unmount(t.Context(), f.path("absent/deep")), nil)
}

func TestBind(t *testing.T) {
	f := newFormatTest(t)
	f.superblock("ext4")
	f.blkid("ext4")
	wantKind(t, f.mount(t.Context(), ext4), nil)
	mm := f.mounts()
	wantKind(t, mm.Bind(t.Context(), f.dir, f.path("pod"), true), nil)
	if got, err := mm.Inspect(t.Context(), f.path("pod")); err != nil || got != (nvme.Entry{Kind: nvme.KindDir, Mounted: true, Num: num1, ReadOnly: true}) {
		t.Errorf("%+v, %v", got, err)
	}
	wantKind(t, mm.Bind(t.Context(), f.dir, f.path("absent/pod"), true), actors.ErrPrecondition)
}

func TestMakeNode(t *testing.T) {
	f := newFormatTest(t)
	mm := f.mounts()
	for path, readOnly := range map[string]bool{"rw": false, "ro": true} {
		wantKind(t, mm.MakeNode(t.Context(), f.dev, f.path(path), readOnly), nil)
		if got, err := mm.Inspect(t.Context(), f.path(path)); err != nil || got != (nvme.Entry{Kind: nvme.KindBlock, Num: num1, ReadOnly: readOnly}) {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
	}
	wantKind(t, mm.MakeNode(t.Context(), f.dev, f.path("rw"), false), actors.ErrPrecondition)
	f.misnumber = true
	wantKind(t, mm.MakeNode(t.Context(), f.dev, f.path("wrong"), false), actors.ErrUnavailable)
	if _, err := os.Stat(f.path("wrong")); err == nil {
		t.Error("left a node of the wrong device")
	}
}

func TestGrow(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs"} {
		f := newFormatTest(t)
		mm := f.mounts()
		wantKind(t, mm.Grow(t.Context(), f.dev, f.dir), actors.ErrPrecondition) // not mounted
		f.superblock(fs)
		f.blkid(fs)
		wantKind(t, f.mount(t.Context(), nvme.Filesystem{Type: fs}), nil)
		wantKind(t, mm.Grow(t.Context(), f.dev, f.dir), nil)
		want := map[string]string{"ext4": "resize2fs /dev/nvme0n1", "xfs": "xfs_growfs -d /staging"}[fs]
		if got := f.commands[len(f.commands)-1]; got != want {
			t.Errorf("ran %q, want %q", got, want)
		}
		f.blkid("")
		wantKind(t, mm.Grow(t.Context(), f.dev, f.dir), actors.ErrUnavailable)
	}
}

func TestUsage(t *testing.T) {
	m := newMachine(t)
	u, err := m.mounts().Usage(t.Context(), m.dir)
	wantKind(t, err, nil)
	if u.Bytes <= 0 || u.BytesFree < 0 || u.BytesUsed < 0 || u.BytesUsed+u.BytesFree > u.Bytes || u.InodesFree > u.Inodes {
		t.Errorf("usage %+v", u)
	}
	_, err = m.mounts().Usage(t.Context(), m.path("absent"))
	wantKind(t, err, actors.ErrUnavailable)
}

// TestUnmountHangs: the kernel waits for a lost connection; the caller does not, and a repeat joins.
func TestUnmountHangs(t *testing.T) {
	f := newFormatTest(t)
	wantKind(t, f.mount(t.Context(), ext4), nil)
	gate, entered := make(chan struct{}), make(chan struct{})
	f.tool = func(command string) (string, error) {
		if strings.HasPrefix(command, "umount") {
			close(entered) // a second umount would panic
			<-gate
		}
		return "", nil
	}
	mm := f.mounts()
	wantKind(t, mm.Unmount(soon(t), f.dir), actors.ErrUnresolved)
	<-entered
	done := make(chan error)
	go func() { done <- mm.Unmount(t.Context(), f.dir) }()
	close(gate)
	wantKind(t, <-done, nil)
}
