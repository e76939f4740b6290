// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/actors"
)

// Identify tells which filesystem a device holds: its type and UUID, as "ext4 <uuid>". It reads past all
// caches. ErrPrecondition: it holds neither an ext4 nor an xfs.
func (m *Mounts) Identify(ctx context.Context, dev Device) (string, error) {
	start, err := share(ctx, &m.calls, "read the superblock of "+dev.Num.String(), func() ([]byte, error) {
		start := make([]byte, directAlign)
		return start, m.cfg.Kernel.ReadDirect(dev.Path, start, 0)
	})
	switch {
	case errors.Is(err, actors.ErrUnresolved):
		return "", err
	case err != nil:
		return "", fmt.Errorf("read the superblock of %s: %w: %w", dev.Path, err, actors.ErrUnavailable)
	}
	id := identity(start)
	if id == "" {
		return "", fmt.Errorf("device %s has no superblock of an ext4 or an xfs: %w", dev.Path, actors.ErrPrecondition)
	}
	return id, nil
}

// identity reads a filesystem's type and UUID from the first 4 KiB of a device, "" if there are none. (Linux,
// struct ext4_super_block: s_magic and s_uuid; struct xfs_dsb: sb_magicnum and sb_uuid.)
func identity(start []byte) string {
	const ext = 1024
	var kind string
	var at int
	switch {
	case string(start[:4]) == "XFSB":
		kind, at = "xfs", 32
	case binary.LittleEndian.Uint16(start[ext+56:]) == 0xEF53:
		kind, at = "ext4", ext+104
	default:
		return ""
	}
	id, err := uuid.FromBytes(start[at : at+16])
	if err != nil || id == uuid.Nil {
		return ""
	}
	return kind + " " + id.String()
}

// Restore mounts a filesystem that is known, by Identify's word for it, and does nothing else: it makes none
// and checks none. The journal is replayed, as after a loss of power. A device that holds another filesystem
// is ErrPrecondition and is left alone.
func (m *Mounts) Restore(ctx context.Context, dev Device, path string, f Filesystem, known string) error {
	if err := m.check(dev); err != nil {
		return err
	}
	found, err := m.Identify(ctx, dev)
	if err != nil {
		return err
	}
	if found != known {
		return fmt.Errorf("device %s holds %s and not %s, it is left alone: %w", dev.Path, found, known, actors.ErrPrecondition)
	}
	if err := m.check(dev); err != nil { // what was read is still that device's
		return err
	}
	return m.attach(ctx, dev, path, f)
}
