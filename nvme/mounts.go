// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"k8s.io/mount-utils"
	"k8s.io/utils/exec"

	"github.com/rds-csi/rds-csi/actors"
)

// MountConfig configures Mounts. Its zero value is right for a privileged process with the host's
// /dev and /sys, and the tools mount, umount, blkid, fsck, mkfs.ext4, resize2fs, mkfs.xfs and
// xfs_growfs.
type MountConfig struct {
	// Sys and Proc are where sysfs and procfs are mounted. Empty: /sys, /proc.
	Sys, Proc string
	// BlankFor is the time between the two looks at a device before it is formatted. Zero: 2 s.
	BlankFor time.Duration

	// Mounter runs mount and umount. Nil: those in the PATH.
	Mounter Mounter
	// Exec runs the other tools. Nil: those in the PATH.
	Exec exec.Interface
	// Kernel does the system calls. Nil: HostKernel.
	Kernel Kernel
	// Logger gets what a caller is not told. Nil: nothing is logged.
	Logger *slog.Logger
}

// A Mounter is the part of mount.Interface that is needed.
type Mounter interface {
	Mount(source, target, fstype string, options []string) error
	Unmount(target string) error
}

// Mounts formats, mounts and publishes devices on this node.
type Mounts struct {
	cfg   MountConfig
	sys   sysfs
	calls group // unmounts and the like that the kernel has not finished
}

// NewMounts returns Mounts. It does nothing until it is used. ErrInvalid: BlankFor is negative.
func NewMounts(c MountConfig) (*Mounts, error) {
	if c.BlankFor < 0 {
		return nil, fmt.Errorf("configure mounts: time %v between two looks is negative: %w", c.BlankFor, actors.ErrInvalid)
	}
	c.Sys, c.Proc = cmp.Or(c.Sys, "/sys"), cmp.Or(c.Proc, "/proc")
	c.BlankFor = cmp.Or(c.BlankFor, 2*time.Second)
	if c.Mounter == nil {
		c.Mounter = mount.NewWithoutSystemd("")
	}
	if c.Exec == nil {
		c.Exec = exec.New()
	}
	if c.Kernel == nil {
		c.Kernel = HostKernel()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Mounts{cfg: c, sys: sysfs{root: c.Sys}}, nil
}

// Inspect returns what is at a path. It reads the list of mounts first, for a mount whose device is
// gone may not be looked into.
func (m *Mounts) Inspect(ctx context.Context, path string) (Entry, error) {
	if err := ctx.Err(); err != nil {
		return Entry{}, fmt.Errorf("inspect: %w: %w", err, actors.ErrUnavailable)
	}
	resolved, err := realPath(path)
	if err != nil || resolved == "" {
		return Entry{}, err
	}
	mounted, err := m.at(resolved)
	if err != nil {
		return Entry{}, err
	}
	return m.entry(path, resolved, mounted)
}

// entry returns what is at a path, at which the given mounts are, the topmost last. It waits for no device:
// the root of what is mounted is in memory.
func (m *Mounts) entry(path, resolved string, mounted []mountPoint) (Entry, error) {
	mode, num, statErr := m.cfg.Kernel.Stat(resolved, false)
	switch {
	case errors.Is(statErr, fs.ErrNotExist):
		return Entry{}, nil
	case statErr != nil && len(mounted) == 0:
		return Entry{}, fmt.Errorf("look at %s: %w: %w", path, statErr, actors.ErrUnavailable)
	case statErr != nil:
		mode = fs.ModeDir // mounted, and too broken to say more
	}
	var e Entry
	switch mode.Type() {
	case fs.ModeDir:
		e.Kind = KindDir
	case fs.ModeDevice:
		e = Entry{Kind: KindBlock, Num: num, ReadOnly: mode.Perm()&0o222 == 0}
	default:
		e.Kind = KindOther
	}
	if n := len(mounted); n > 0 {
		top := mounted[n-1]
		e.Mounted = true
		if e.Kind != KindBlock { // a bind mount of a device node is of devtmpfs
			e.Num, e.ReadOnly = top.num, top.readOnly
			e.Failed = m.failure(top, statErr)
		}
	}
	e.Stale = e.Num.Major != 0 && !m.sys.present(e.Num)
	return e, nil
}

// realPath returns the path with the links in its parent resolved, as mountinfo shows it, and "" if
// there is no parent.
func realPath(path string) (string, error) {
	parent, err := filepath.EvalSymlinks(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("resolve %s: %w: %w", path, err, actors.ErrUnavailable)
	}
	return filepath.Join(parent, filepath.Base(path)), nil
}

// at returns the mounts at a path, the topmost last.
func (m *Mounts) at(resolved string) ([]mountPoint, error) {
	all, err := readMounts(filepath.Join(m.cfg.Proc, "self", "mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, actors.ErrUnavailable)
	}
	var found []mountPoint
	for _, mp := range all {
		if mp.path == resolved {
			found = append(found, mp)
		}
	}
	return found, nil
}

// Bind makes the directory target and mounts source on it too.
func (m *Mounts) Bind(ctx context.Context, source, target string, readOnly bool) error {
	if err := os.Mkdir(target, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make target path: %w: %w", err, actors.ErrPrecondition)
	}
	options := []string{"bind"}
	if readOnly {
		options = append(options, "ro") // mount-utils binds and then remounts
	}
	err := m.calls.do(ctx, "mount "+target, func() error { return m.cfg.Mounter.Mount(source, target, "", options) })
	if err == nil {
		return nil
	}
	if errors.Is(err, actors.ErrUnresolved) {
		return err
	}
	// It may be bound and not be read-only yet.
	return fmt.Errorf("bind mount: %w: %w", errors.Join(err, m.Unmount(ctx, target)), actors.ErrUnavailable)
}

// MakeNode makes a device node and checks that it is what it should be. A node in the target's
// directory costs nothing, where a bind mount of the host's node costs a mount.
func (m *Mounts) MakeNode(ctx context.Context, dev Device, target string, readOnly bool) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("make device node: %w: %w", err, actors.ErrUnavailable)
	}
	perm := fs.FileMode(0o660)
	if readOnly {
		perm = 0o440
	}
	if err := m.cfg.Kernel.MakeNode(target, dev.Num, perm); err != nil {
		return fmt.Errorf("make device node: %w: %w", err, actors.ErrPrecondition)
	}
	_, num, err := m.cfg.Kernel.Stat(target, false)
	if err == nil && num != dev.Num {
		err = fmt.Errorf("it is device %s and not %s", num, dev.Num)
	}
	if err != nil {
		return fmt.Errorf("make device node: %w: %w", errors.Join(err, os.Remove(target)), actors.ErrUnavailable)
	}
	return nil
}

// maxStacked bounds how many mounts at one path are taken down.
const maxStacked = 32

// Unmount takes down all mounts at a path. While the device's connection is lost the kernel may not
// finish: then the answer is ErrUnresolved, and a repeat goes on waiting.
func (m *Mounts) Unmount(ctx context.Context, path string) error {
	resolved, err := realPath(path)
	if err != nil || resolved == "" {
		return err
	}
	for range maxStacked {
		mounted, err := m.at(resolved)
		if err != nil || len(mounted) == 0 {
			return err
		}
		err = m.calls.do(ctx, "unmount "+path, func() error { return m.cfg.Mounter.Unmount(resolved) })
		if errors.Is(err, actors.ErrUnresolved) {
			return err
		}
		if err != nil {
			return fmt.Errorf("unmount: %w: %w", err, actors.ErrUnavailable)
		}
	}
	return fmt.Errorf("unmount: %s still has a mount after %d were taken down: %w", path, maxStacked, actors.ErrUnavailable)
}

// Usage tells how full the filesystem at a path is.
func (m *Mounts) Usage(ctx context.Context, path string) (Usage, error) {
	u, err := share(ctx, &m.calls, "look how full is "+path, func() (Usage, error) { return statfs(path) })
	if err != nil && !errors.Is(err, actors.ErrUnresolved) {
		return Usage{}, fmt.Errorf("%w: %w", err, actors.ErrUnavailable)
	}
	return u, err
}
