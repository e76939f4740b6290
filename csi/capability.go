// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"fmt"
	"slices"
	"strings"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
)

// maxMountFlags is the size in bytes of all mount flags together (CSI spec, "MountVolume").
const maxMountFlags = 4096

// defaultFSType is the filesystem of a volume whose StorageClass names none.
const defaultFSType = "ext4"

var fsTypes = []string{"ext4", "xfs"}

// A usage is a checked VolumeCapability.
type usage struct {
	access   actors.Access
	readOnly bool
	block    bool     // a raw block device; otherwise a filesystem
	fsType   string   // of a filesystem; empty where the CO names none
	flags    []string // of a filesystem's mount
}

// parseCapability checks one capability. It is ErrInvalid for one that this driver does not
// support, with a text that says what to change.
func parseCapability(c *csipb.VolumeCapability) (usage, error) {
	var u usage
	if c == nil {
		return u, fmt.Errorf("volume capability is missing: %w", actors.ErrInvalid)
	}
	if err := u.parseAccessType(c); err != nil {
		return u, err
	}
	return u, u.parseAccessMode(c.GetAccessMode().GetMode())
}

func (u *usage) parseAccessType(c *csipb.VolumeCapability) error {
	switch {
	case c.GetBlock() != nil:
		u.block = true
		return nil
	case c.GetMount() == nil:
		return fmt.Errorf("volume capability has no access type: set block or mount: %w", actors.ErrInvalid)
	}
	m := c.GetMount()
	if err := checkFSType(m.GetFsType()); err != nil {
		return err
	}
	if m.GetVolumeMountGroup() != "" {
		return fmt.Errorf("volume_mount_group is not supported: use fsGroup: %w", actors.ErrInvalid)
	}
	size := 0
	for _, f := range m.GetMountFlags() {
		size += len(f)
	}
	if size > maxMountFlags {
		return fmt.Errorf("mount flags of %d bytes are longer than %d: %w", size, maxMountFlags, actors.ErrInvalid)
	}
	u.fsType, u.flags = m.GetFsType(), m.GetMountFlags()
	return nil
}

// parseAccessMode reduces the CSI access mode to what the box tells apart. A SINGLE_NODE_READER_ONLY
// volume is exclusive like a writer's, since at most one node may have it.
func (u *usage) parseAccessMode(mode csipb.VolumeCapability_AccessMode_Mode) error {
	switch mode {
	case csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER,
		csipb.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER,
		csipb.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER:
		u.access = actors.AccessSingle
	case csipb.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY:
		u.access, u.readOnly = actors.AccessSingle, true
	case csipb.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY:
		u.access, u.readOnly = actors.AccessReader, true
	case csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER:
		if !u.block {
			return fmt.Errorf("ReadWriteMany with a filesystem would corrupt it: set volumeMode: Block, or accessModes: [ReadWriteOnce]: %w", actors.ErrInvalid)
		}
		u.access = actors.AccessShared
	case csipb.VolumeCapability_AccessMode_UNKNOWN:
		return fmt.Errorf("volume capability has no access mode: %w", actors.ErrInvalid)
	default:
		return fmt.Errorf("access mode %v is not supported: use ReadWriteOnce, ReadWriteOncePod, ReadOnlyMany, or ReadWriteMany with volumeMode: Block: %w", mode, actors.ErrInvalid)
	}
	return nil
}

// parseCapabilities checks the capabilities that a volume must have all of, and returns what it is:
// a block device or a filesystem, and of which type.
func parseCapabilities(caps []*csipb.VolumeCapability) (usage, error) {
	if len(caps) == 0 {
		return usage{}, fmt.Errorf("volume_capabilities are missing: %w", actors.ErrInvalid)
	}
	var all usage
	for i, c := range caps {
		u, err := parseCapability(c)
		if err != nil {
			return usage{}, err
		}
		switch {
		case i == 0:
			all = u
		case u.block != all.block:
			return usage{}, fmt.Errorf("a volume is either a block device or a filesystem: ask for one of block and mount: %w", actors.ErrInvalid)
		case all.fsType == "":
			all.fsType = u.fsType
		case u.fsType != "" && u.fsType != all.fsType:
			return usage{}, fmt.Errorf("a volume has one filesystem: ask for one of %s and %s: %w", all.fsType, u.fsType, actors.ErrInvalid)
		}
	}
	return all, nil
}

func checkFSType(s string) error {
	if s == "" || slices.Contains(fsTypes, s) {
		return nil
	}
	return fmt.Errorf("filesystem type %.32q is not one of %s: %w", s, strings.Join(fsTypes, ", "), actors.ErrInvalid)
}
