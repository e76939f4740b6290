// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"fmt"
	"regexp"
)

// VolumeID identifies a volume: "pvc-" and a lower-case RFC 4122 UUID, 40 characters. It is the
// CSI volume_id, the base name of the backing file, and the part of the NQN between prefix and
// epoch.
type VolumeID string

// NodeID identifies a node: its Kubernetes node name, an RFC 1123 subdomain of at most 63
// characters. It is the CSI node_id.
type NodeID string

var (
	volumeIDForm = regexp.MustCompile(`^pvc-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	nodeIDForm   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
)

// MaxNodeID is the longest NodeID in bytes. Two of them must fit in a ledger.
const MaxNodeID = 63

// Check reports ErrInvalid unless id has the form of a VolumeID.
func (id VolumeID) Check() error {
	if !volumeIDForm.MatchString(string(id)) {
		return fmt.Errorf("volume ID %.64q is not of the form pvc-<uuid>: %w", string(id), ErrInvalid)
	}
	return nil
}

// UUID returns the 36 characters after "pvc-". The ID must have passed Check.
func (id VolumeID) UUID() string { return string(id[len("pvc-"):]) }

// Check reports ErrInvalid unless id has the form of a NodeID.
func (id NodeID) Check() error {
	if len(id) > MaxNodeID || !nodeIDForm.MatchString(string(id)) {
		return fmt.Errorf("node ID %.80q is not a lower-case node name (RFC 1123) of at most %d characters: %w", string(id), MaxNodeID, ErrInvalid)
	}
	return nil
}

// A Volume is what the box shows of one volume: a row of its disk table, in exact bytes, with the
// ledger decoded. The zero Exists means that the box has no such row.
type Volume struct {
	ID     VolumeID
	Exists bool

	Size      int64  // bytes
	Export    bool   // served over NVMe/TCP
	NQN       string // subsystem NQN, set even while not exported: by the ledger where the box hides it
	Port      uint16 // NVMe/TCP port; likewise
	AllowHost string // the only host NQN that may connect; empty: any may

	Ledger Ledger // zero, with Ours false, on a row without our comment
	Ours   bool   // the row carries a ledger
}

// Access is how a volume may be attached. It is the CSI access mode reduced to what a box can
// tell apart.
type Access byte

// The kinds of access. The letters stand in the ledger.
const (
	AccessNone   Access = 0   // not attached
	AccessSingle Access = 'w' // one node, reading and writing: RWO and RWOP
	AccessReader Access = 'r' // any number of nodes, reading only, never beside a writer: ROX
	AccessShared Access = 'm' // one node, and a second one while a VM migrates: RWX block
)

// String returns the access mode's usual abbreviation.
func (a Access) String() string {
	switch a {
	case AccessNone:
		return "none"
	case AccessSingle:
		return "ReadWriteOnce"
	case AccessReader:
		return "ReadOnlyMany"
	case AccessShared:
		return "ReadWriteMany"
	}
	return fmt.Sprintf("Access(%d)", byte(a))
}
