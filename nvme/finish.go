// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"k8s.io/utils/exec"

	"github.com/rds-csi/rds-csi/actors"
)

// finish deals with a device on which mkfs was begun and not seen to end, as when the process was killed or the box
// failed. A filesystem that is whole is kept. Of one that is not, nobody can have written a byte: it is made anew.
func (m *Mounts) finish(ctx context.Context, dev Device, f Filesystem, found string) error {
	if f.ReadOnly || dev.ReadOnly {
		return errReadOnly(dev, "half a filesystem")
	}
	if err := m.claim(dev); err != nil {
		return err
	}
	if found == f.Type {
		if whole, err := m.whole(dev, f); whole || err != nil {
			return err
		}
	}
	if err := m.check(dev); err != nil { // what was read above was of a live controller
		return err
	}
	if err := begun(ctx); err != nil {
		return err
	}
	m.cfg.Logger.WarnContext(ctx, "formatting a device again whose formatting did not end", "device", dev.Path, "number", dev.Num, "filesystem", f.Type, "found", found)
	return m.makeFilesystem(dev, f, true)
}

// claim reports whether nobody else has a device for himself. An mkfs may be at work still, without the process that
// began it; it holds the device exclusively.
func (m *Mounts) claim(dev Device) error {
	switch err := m.cfg.Kernel.Claim(dev.Path); {
	case errors.Is(err, syscall.EBUSY):
		return fmt.Errorf("device %s is in use, as if an earlier mkfs of it were still at work: %w: %w", dev.Path, err, actors.ErrUnavailable)
	case err != nil:
		return fmt.Errorf("claim device %s: %w: %w", dev.Path, err, actors.ErrUnavailable)
	}
	return nil
}

// whole reports whether mkfs has come to its end.
func (m *Mounts) whole(dev Device, f Filesystem) (bool, error) {
	if f.Type == "xfs" {
		// mkfs.xfs clears this mark last (struct xfs_dsb, sb_inprogress).
		const inProgress = 126
		start := make([]byte, directAlign)
		if err := m.cfg.Kernel.ReadDirect(dev.Path, start, 0); err != nil {
			return false, fmt.Errorf("read the superblock of %s: %w: %w", dev.Path, err, actors.ErrUnavailable)
		}
		return start[inProgress] == 0, nil
	}
	// mkfs.ext4 writes all at its end, and the kernel in an order of its own: the superblock may be there alone. So all
	// is looked at, whatever the superblock says of itself.
	out, err := m.cfg.Exec.Command("fsck.ext4", "-f", "-n", dev.Path).CombinedOutput()
	var exit exec.ExitError
	switch {
	case err == nil:
		return true, nil
	case !errors.As(err, &exit) || exit.ExitStatus()&^(fsckUncorrected|fsckFailed) != 0:
		return false, fmt.Errorf("fsck.ext4 -n of %s: %w: %.512q: %w", dev.Path, err, out, actors.ErrUnavailable)
	}
	return false, nil
}
