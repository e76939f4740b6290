// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package tcp

import "fmt"

// A NamespaceIdentity is the Identify Namespace data structure with one LBA format, as far as block
// storage uses it (NVM Command Set 1.0, 4.1.5.1).
type NamespaceIdentity struct {
	Size        uint64 // NSZE, in blocks; 0 for a namespace that is not active
	Capacity    uint64 // NCAP, in blocks
	Utilization uint64 // NUSE, in blocks
	Features    uint8  // NSFEAT
	NMIC        uint8
	DLFEAT      uint8 // what deallocated blocks read as
	ANAGroup    uint32
	NGUID       [16]byte
	EUI64       [8]byte
	BlockShift  uint8 // LBADS of the format in use: 9 for 512 bytes
}

// NMICShared says that several controllers may be attached to a namespace.
const NMICShared = 1 << 0

// DLFEATZero says that deallocated blocks read as zeroes and that Write Zeroes may deallocate.
const DLFEATZero = 1 | 1<<3

// NSFEATThin says that the namespace is thin provisioned.
const NSFEATThin = 1 << 0

// Append encodes the structure: IdentifyLen bytes.
func (n *NamespaceIdentity) Append(b []byte) []byte {
	var f [IdentifyLen]byte
	le.PutUint64(f[0:], n.Size)
	le.PutUint64(f[8:], n.Capacity)
	le.PutUint64(f[16:], n.Utilization)
	f[24], f[30], f[33] = n.Features, n.NMIC, n.DLFEAT
	le.PutUint32(f[92:], n.ANAGroup)
	copy(f[104:], n.NGUID[:])
	copy(f[120:], n.EUI64[:])
	f[130] = n.BlockShift
	return append(b, f[:]...)
}

// ParseNamespaceIdentity decodes the structure of IdentifyLen bytes.
func ParseNamespaceIdentity(b []byte) (n NamespaceIdentity, err error) {
	if len(b) != IdentifyLen {
		return n, fmt.Errorf("parse identify namespace: %d bytes, not %d", len(b), IdentifyLen)
	}
	n = NamespaceIdentity{
		Size: le.Uint64(b), Capacity: le.Uint64(b[8:]), Utilization: le.Uint64(b[16:]),
		Features: b[24], NMIC: b[30], DLFEAT: b[33], ANAGroup: le.Uint32(b[92:]),
		BlockShift: b[128+4*int(b[26]&0xf)+2],
	}
	copy(n.NGUID[:], b[104:])
	copy(n.EUI64[:], b[120:])
	return n, nil
}

// AppendNamespaceList encodes an active namespace list: IdentifyLen bytes, or the first of 1,024
// that fit.
func AppendNamespaceList(b []byte, nsids ...uint32) []byte {
	var f [IdentifyLen]byte
	for i, id := range nsids[:min(len(nsids), IdentifyLen/4)] {
		le.PutUint32(f[4*i:], id)
	}
	return append(b, f[:]...)
}

// ParseNamespaceList decodes a namespace list, which ends at the first zero. The changed namespace
// list log has the same form.
func ParseNamespaceList(b []byte) (nsids []uint32) {
	for ; len(b) >= 4; b = b[4:] {
		id := le.Uint32(b)
		if id == 0 {
			break
		}
		nsids = append(nsids, id)
	}
	return nsids
}

// Descriptors is the Namespace Identification Descriptor list (Base 2.0, 5.17.2.3). A zero value is
// not in the list.
type Descriptors struct {
	EUI64      [8]byte
	NGUID      [16]byte
	UUID       [16]byte
	HasCSI     bool
	CommandSet uint8 // CSI; 0: the NVM command set
}

// Types of namespace identifier: NIDT.
const (
	nidEUI64 = 1
	nidNGUID = 2
	nidUUID  = 3
	nidCSI   = 4
)

// Append encodes the list: IdentifyLen bytes.
func (d Descriptors) Append(b []byte) []byte {
	list := make([]byte, 0, IdentifyLen)
	add := func(kind uint8, id []byte) {
		list = append(list, kind, uint8(len(id)), 0, 0)
		list = append(list, id...)
	}
	if d.UUID != [16]byte{} {
		add(nidUUID, d.UUID[:])
	}
	if d.NGUID != [16]byte{} {
		add(nidNGUID, d.NGUID[:])
	}
	if d.EUI64 != [8]byte{} {
		add(nidEUI64, d.EUI64[:])
	}
	if d.HasCSI {
		add(nidCSI, []byte{d.CommandSet})
	}
	return append(b, list[:IdentifyLen]...)
}

// ParseDescriptors decodes the list. Descriptors of unknown types are passed over.
func ParseDescriptors(b []byte) (d Descriptors, err error) {
	for len(b) >= 4 && b[1] != 0 {
		kind, n := b[0], int(b[1])
		if len(b) < 4+n {
			return d, fmt.Errorf("parse namespace descriptor %d: %d bytes, %d left", kind, n, len(b)-4)
		}
		id := b[4 : 4+n]
		switch {
		case kind == nidEUI64 && n == len(d.EUI64):
			copy(d.EUI64[:], id)
		case kind == nidNGUID && n == len(d.NGUID):
			copy(d.NGUID[:], id)
		case kind == nidUUID && n == len(d.UUID):
			copy(d.UUID[:], id)
		case kind == nidCSI && n == 1:
			d.HasCSI, d.CommandSet = true, id[0]
		case kind >= nidEUI64 && kind <= nidCSI:
			return d, fmt.Errorf("parse namespace descriptor %d: %d bytes", kind, n)
		}
		b = b[4+n:]
	}
	return d, nil
}
