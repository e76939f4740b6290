// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"fmt"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/actors"
)

// maxString is the longest string that CSI allows in a field (CSI spec, "Size Limits").
const maxString = 128

// nameSpace is the UUIDv5 name space of volume names. It must never change: a retry of a
// CreateVolume must find the volume that the first attempt made.
var nameSpace = uuid.MustParse("d61d3b0e-3c56-5d3c-8f4a-0c7f6c1d9a42")

// volumeIDOf returns the ID of the volume that a CreateVolume names. The provisioner's names are
// pvc-<uuid> and stay; of any other name it is the UUIDv5.
func volumeIDOf(name string) (actors.VolumeID, error) {
	if name == "" {
		return "", fmt.Errorf("name is missing: %w", actors.ErrInvalid)
	}
	if len(name) > maxString {
		return "", fmt.Errorf("name of %d bytes is longer than %d: %w", len(name), maxString, actors.ErrInvalid)
	}
	if !utf8.ValidString(name) {
		return "", fmt.Errorf("name %q is not UTF-8: %w", name, actors.ErrInvalid)
	}
	for _, r := range name {
		if bannedInName(r) {
			return "", fmt.Errorf("name %q has the control character %U: %w", name, r, actors.ErrInvalid)
		}
	}
	if id := actors.VolumeID(name); id.Check() == nil {
		return id, nil
	}
	return actors.VolumeID("pvc-" + uuid.NewSHA1(nameSpace, []byte(name)).String()), nil
}

// bannedInName reports whether CSI bans r from a volume's name: control characters other than
// common white space.
func bannedInName(r rune) bool {
	switch {
	case r <= 0x08, r == 0x0B, r == 0x0C, r >= 0x0E && r <= 0x1F, r >= 0x7F && r <= 0x9F:
		return true
	}
	return false
}

// checkVolumeID checks the volume_id of a request. It is ErrInvalid where the ID is missing or
// longer than CSI allows, and ErrNotFound where it has a form that no volume of this driver has.
func checkVolumeID(id string) (actors.VolumeID, error) {
	if id == "" {
		return "", fmt.Errorf("volume_id is missing: %w", actors.ErrInvalid)
	}
	if len(id) > maxString {
		return "", fmt.Errorf("volume_id of %d bytes is longer than %d: %w", len(id), maxString, actors.ErrInvalid)
	}
	if actors.VolumeID(id).Check() != nil {
		return "", fmt.Errorf("volume %q: IDs of this driver have the form pvc-<uuid>: %w", id, actors.ErrNotFound)
	}
	return actors.VolumeID(id), nil
}

// checkNodeID checks the node_id of a request. It is ErrInvalid where the ID is missing or is not a
// node's name.
func checkNodeID(id string) (actors.NodeID, error) {
	if id == "" {
		return "", fmt.Errorf("node_id is missing: %w", actors.ErrInvalid)
	}
	return actors.NodeID(id), actors.NodeID(id).Check()
}
