// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/mount-utils"
	"k8s.io/utils/exec"

	"github.com/rds-csi/rds-csi/actors"
)

// Mount mounts a device's filesystem at a directory. A device that is certainly blank gets its
// filesystem first. A device that holds anything else than the filesystem that was asked for is
// ErrPrecondition, and is left alone.
func (m *Mounts) Mount(ctx context.Context, dev Device, path string, f Filesystem) error {
	if f.Type != "ext4" && f.Type != "xfs" {
		return fmt.Errorf("filesystem %.32q is not one of ext4, xfs: %w", f.Type, actors.ErrInvalid)
	}
	// Whatever reads a device whose connection is lost waits in the kernel until it comes back, or its
	// controller is deleted.
	at := mounting{path, f.Type}
	got, err := share(ctx, &m.calls, "mount device "+dev.Num.String(), func() (mounting, error) { return at, m.mount(ctx, dev, path, f) })
	if err == nil && got != at {
		return fmt.Errorf("device %s was being mounted at %s as %s: %w", dev.Num, got.path, got.fsType, actors.ErrUnavailable)
	}
	return err
}

// mounting is what a device is being mounted as.
type mounting struct{ path, fsType string }

// mount does Mount. When ctx ends it goes no further than the step that it has begun: what comes
// after may be a disconnect.
func (m *Mounts) mount(ctx context.Context, dev Device, path string, f Filesystem) error {
	if err := m.check(dev); err != nil {
		return err
	}
	found, err := m.content(dev)
	if err != nil {
		return err
	}
	if err := begun(ctx); err != nil {
		return err
	}
	switch {
	case found == blank:
		err = m.format(ctx, dev, f)
	case f.Unfinished && (found == f.Type || found == unknown):
		err = m.finish(ctx, dev, f, found)
	case found == f.Type:
		err = m.repair(dev, f)
	default:
		err = fmt.Errorf("device %s holds %s and not %s, it is left alone; if the data is not needed, wipe the device by hand: %w", dev.Path, found, f.Type, actors.ErrPrecondition)
	}
	if err != nil {
		return err
	}
	return m.attach(ctx, dev, path, f)
}

// attach mounts what a device holds, and checks that it is that device which is mounted.
func (m *Mounts) attach(ctx context.Context, dev Device, path string, f Filesystem) error {
	if err := begun(ctx); err != nil {
		return err
	}
	options := slices.Clone(f.Flags)
	if f.ReadOnly && !slices.Contains(options, "ro") {
		options = append(options, "ro")
	}
	err := m.calls.do(ctx, "mount "+path, func() error { return m.cfg.Mounter.Mount(dev.Path, path, f.Type, options) })
	if errors.Is(err, actors.ErrUnresolved) {
		return err
	}
	if err != nil {
		return fmt.Errorf("mount: %w: %w", err, actors.ErrUnavailable)
	}
	entry, err := m.Inspect(ctx, path)
	if err != nil {
		return err
	}
	if !entry.Mounted || entry.Num != dev.Num {
		return fmt.Errorf("mounted device %s where %s was expected: %w", entry.Num, dev.Num, errors.Join(m.Unmount(ctx, path), actors.ErrUnavailable))
	}
	return nil
}

// begun reports that nobody waits any more for what was begun.
func begun(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("mount: %w: %w", context.Cause(ctx), actors.ErrUnavailable)
}

// check reports whether a device is still the one that was connected, with a live controller.
func (m *Mounts) check(dev Device) error {
	now, live, err := m.sys.live(dev.Num)
	switch {
	case err != nil:
		return err
	case !live:
		return fmt.Errorf("device %s has no live controller: %w", dev.Num, actors.ErrUnavailable)
	case now.Size != dev.Size:
		return fmt.Errorf("device %s has %d bytes and not %d any more: %w", dev.Num, now.Size, dev.Size, actors.ErrUnavailable)
	}
	if err := checkNode(m.cfg.Kernel, dev); err != nil {
		return fmt.Errorf("%w: %w", err, actors.ErrPrecondition)
	}
	return nil
}

// What content finds, besides the name of a filesystem.
const (
	blank   = "nothing but zeros"
	unknown = "data of unknown kind"
)

// content tells what is on a device, by its superblock and by blkid. Where they differ it is
// unknown: blkid takes a device that it cannot read for an empty one.
func (m *Mounts) content(dev Device) (string, error) {
	own, err := m.superblock(dev)
	if err != nil {
		return "", fmt.Errorf("read device %s: %w: %w", dev.Path, err, actors.ErrUnavailable)
	}
	sfm := mount.SafeFormatAndMount{Exec: m.cfg.Exec}
	theirs, err := sfm.GetDiskFormat(dev.Path)
	if err != nil {
		return "", fmt.Errorf("identify device %s with blkid: %w: %w", dev.Path, err, actors.ErrUnavailable)
	}
	switch {
	case own == blank && theirs == "":
		return blank, nil
	case own == theirs:
		return own, nil
	case own == "ext4" && (theirs == "ext3" || theirs == "ext2"):
		return theirs, nil // one magic number for all three
	case own == unknown && theirs != "":
		return theirs, nil
	}
	return unknown, nil
}

// edge is how much is read at a device's start and its end. Partition tables, volume managers and
// filesystems all leave a mark there.
const edge = 1 << 20

// superblock reads both ends of a device past all caches, and tells what it recognises.
func (m *Mounts) superblock(dev Device) (string, error) {
	// Reads are aligned. A volume that is smaller than both ends is read whole, and the last bytes
	// of one that is no multiple of 4 KiB belong to nobody.
	whole := dev.Size &^ (directAlign - 1)
	if whole < directAlign {
		return "", fmt.Errorf("it has only %d bytes", dev.Size)
	}
	start := make([]byte, min(edge, whole))
	if err := m.cfg.Kernel.ReadDirect(dev.Path, start, 0); err != nil {
		return "", err
	}
	end := make([]byte, len(start))
	if err := m.cfg.Kernel.ReadDirect(dev.Path, end, whole-int64(len(end))); err != nil {
		return "", err
	}
	const extMagic = 1024 + 56 // ext4 superblock, s_magic
	switch {
	case bytes.HasPrefix(start, []byte("XFSB")):
		return "xfs", nil
	case binary.LittleEndian.Uint16(start[extMagic:]) == 0xEF53:
		return "ext4", nil
	case zero(start) && zero(end):
		return blank, nil
	}
	return unknown, nil
}

func zero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// format makes a filesystem on a device that was found blank, after it was found blank again.
func (m *Mounts) format(ctx context.Context, dev Device, f Filesystem) error {
	if f.ReadOnly || dev.ReadOnly {
		return errReadOnly(dev, blank)
	}
	wait := time.NewTimer(m.cfg.BlankFor)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return fmt.Errorf("wait for a second look at device %s: %w: %w", dev.Path, context.Cause(ctx), actors.ErrUnavailable)
	}
	if err := m.check(dev); err != nil {
		return err
	}
	again, err := m.content(dev)
	if err != nil {
		return err
	}
	if again != blank {
		return fmt.Errorf("device %s was blank and then held %s, it is left alone: %w", dev.Path, again, actors.ErrPrecondition)
	}
	if err := m.check(dev); err != nil { // the reads above were of a live controller
		return err
	}
	if err := m.claim(dev); err != nil {
		return err
	}
	if err := begun(ctx); err != nil {
		return err
	}
	m.cfg.Logger.InfoContext(ctx, "formatting a blank device", "device", dev.Path, "number", dev.Num, "filesystem", f.Type)
	return m.makeFilesystem(dev, f, false)
}

func errReadOnly(dev Device, found string) error {
	return fmt.Errorf("device %s holds %s and cannot be formatted read-only, attach it for writing first: %w", dev.Path, found, actors.ErrPrecondition)
}

// makeFilesystem runs mkfs, again where an earlier one did not end. It is not interrupted: half a filesystem is neither
// blank nor whole.
func (m *Mounts) makeFilesystem(dev Device, f Filesystem, again bool) error {
	args := []string{dev.Path}
	switch {
	case f.Type == "ext4": // it asks on a whole device unless forced
		args = []string{"-F", "-m0", dev.Path}
	case again: // mkfs.xfs refuses a used device unless forced
		args = []string{"-f", dev.Path}
	}
	if f.Begin != nil {
		if err := f.Begin(); err != nil {
			return fmt.Errorf("note that device %s is being formatted: %w", dev.Path, err)
		}
	}
	out, err := m.cfg.Exec.Command("mkfs."+f.Type, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mkfs.%s of %s: %w: %.512q: %w", f.Type, dev.Path, err, out, actors.ErrUnavailable)
	}
	return nil
}

// The bits of fsck's exit status that matter (fsck(8)).
const (
	fsckUncorrected = 4
	fsckFailed      = 8 // and above: it could not check
)

// repair checks an ext4 filesystem and repairs what is safe to repair without asking. xfs repairs
// itself by its log when it is mounted.
func (m *Mounts) repair(dev Device, f Filesystem) error {
	if f.Type != "ext4" || f.ReadOnly || dev.ReadOnly {
		return nil
	}
	out, err := m.cfg.Exec.Command("fsck", "-a", dev.Path).CombinedOutput()
	var exit exec.ExitError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &exit) || exit.ExitStatus() >= fsckFailed:
		return fmt.Errorf("fsck of %s: %w: %.512q: %w", dev.Path, err, out, actors.ErrUnavailable)
	case exit.ExitStatus()&fsckUncorrected != 0:
		return fmt.Errorf("fsck of %s found errors that it does not correct by itself, run e2fsck on it by hand: %.512q: %w", dev.Path, out, actors.ErrPrecondition)
	}
	m.cfg.Logger.Warn("fsck corrected a filesystem", "device", dev.Path, "output", string(out))
	return nil
}

// Grow makes the filesystem that is mounted at path as large as its device.
func (m *Mounts) Grow(ctx context.Context, dev Device, path string) error {
	entry, err := m.Inspect(ctx, path)
	if err != nil {
		return err
	}
	if !entry.Mounted || entry.Num != dev.Num || entry.ReadOnly {
		return fmt.Errorf("device %s is not mounted for writing at %s: %w", dev.Num, path, actors.ErrPrecondition)
	}
	if err := checkNode(m.cfg.Kernel, dev); err != nil {
		return fmt.Errorf("%w: %w", err, actors.ErrPrecondition)
	}
	err = m.calls.do(ctx, "grow "+path, func() error {
		grown, err := mount.NewResizeFs(m.cfg.Exec).Resize(dev.Path, path)
		if err == nil && !grown {
			err = errors.New("blkid finds no filesystem")
		}
		return err
	})
	if err != nil && !errors.Is(err, actors.ErrUnresolved) {
		return fmt.Errorf("grow: %w: %w", err, actors.ErrUnavailable)
	}
	return err
}
