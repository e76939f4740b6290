// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

// access is how a node is to offer a volume: its checked capability, with what the publish context
// adds.
type access struct {
	Mode     csipb.VolumeCapability_AccessMode_Mode `json:"mode"`
	ReadOnly bool                                   `json:"readOnly,omitempty"`
	Block    bool                                   `json:"block,omitempty"`
	FS       string                                 `json:"fs,omitempty"`    // ext4 or xfs; empty for block
	Flags    []string                               `json:"flags,omitempty"` // mount options; none for block
}

// parseAccess checks a volume capability. What is malformed is ErrInvalid, what this driver does not
// do is ErrPrecondition (CSI spec, "Exceeds capabilities"). A grant that is read-only makes all of
// the volume read-only on this node.
func parseAccess(c *csipb.VolumeCapability, publish map[string]string) (access, error) {
	mode := c.GetAccessMode().GetMode()
	switch {
	case mode == csipb.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER:
		return access{}, fmt.Errorf("access mode %v is not supported: use ReadWriteOnce or, for a block volume, ReadWriteMany: %w", mode, actors.ErrPrecondition)
	case mode == csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER && c.GetMount() != nil:
		return access{}, fmt.Errorf("ReadWriteMany with a filesystem would corrupt it: set volumeMode: Block: %w", actors.ErrPrecondition)
	}
	u, err := parseCapability(c)
	if err != nil {
		return access{}, err
	}
	a := access{Mode: mode, ReadOnly: u.readOnly, Block: u.block, Flags: u.flags}
	switch s := publish[publishAccess]; s {
	case "", accessReadWrite: // the older driver did not tell
	case accessReadOnly:
		a.ReadOnly = true
	default:
		return access{}, contextError(publishAccess, s, accessReadWrite+" or "+accessReadOnly)
	}
	if a.Block {
		return a, nil
	}
	for _, flag := range a.Flags {
		if err := checkMountFlag(flag); err != nil {
			return access{}, err
		}
	}
	a.ReadOnly = a.ReadOnly || slices.Contains(a.Flags, "ro")
	a.FS = cmp.Or(u.fsType, publish[publishFSType], defaultFSType)
	return a, checkFSType(a.FS)
}

// manyTargets reports whether a volume may be published at several paths of one node (CSI spec, the
// second table of "NodePublishVolume").
func (a access) manyTargets() bool {
	switch a.Mode {
	case csipb.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER,
		csipb.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY,
		csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER:
		return true
	}
	return false
}

func (a access) equal(b access) bool {
	return a.Mode == b.Mode && a.ReadOnly == b.ReadOnly && a.Block == b.Block && a.FS == b.FS && slices.Equal(a.Flags, b.Flags)
}

func (a access) filesystem() nvme.Filesystem {
	return nvme.Filesystem{Type: a.FS, Flags: a.Flags, ReadOnly: a.ReadOnly}
}

// checkMountFlag refuses mount options that would do something else than mount a device. A comma
// is allowed, for SELinux contexts have one, so every part is looked at.
func checkMountFlag(flag string) error {
	if flag == "" || len(flag) > 512 {
		return fmt.Errorf("mount option %.64q has %d characters, 1 to 512 are allowed: %w", flag, len(flag), actors.ErrInvalid)
	}
	if strings.ContainsFunc(flag, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("mount option %.64q has a character outside of printable ASCII, or a space: %w", flag, actors.ErrInvalid)
	}
	for part := range strings.SplitSeq(flag, ",") {
		name, _, _ := strings.Cut(part, "=")
		switch strings.ToLower(name) {
		case "bind", "rbind", "move", "remount", "loop", "offset", "sizelimit",
			"shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable":
			return fmt.Errorf("mount option %.64q is not allowed, remove it from the StorageClass's mountOptions: %w", flag, actors.ErrInvalid)
		}
	}
	return nil
}

// maxPath is what Linux takes (PATH_MAX, with the final NUL).
const maxPath = 4095

// checkPath reports ErrInvalid unless path is absolute, clean and not the root directory.
func checkPath(what, path string) error {
	switch {
	case path == "":
		return fmt.Errorf("%s is required: %w", what, actors.ErrInvalid)
	case len(path) > maxPath:
		return fmt.Errorf("%s has %d bytes, at most %d are allowed: %w", what, len(path), maxPath, actors.ErrInvalid)
	case strings.ContainsRune(path, 0):
		return fmt.Errorf("%s contains a NUL byte: %w", what, actors.ErrInvalid)
	case !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/":
		return fmt.Errorf("%s %.256q is not an absolute path in its shortest form below /: %w", what, path, actors.ErrInvalid)
	}
	return nil
}
