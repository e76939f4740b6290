// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package tcp

import "fmt"

// A DiscoveryEntry is one record of the discovery log page: how a subsystem is reached (Base 2.0,
// 5.16.1.23; Transport 1.0, 3.5 for TSAS).
type DiscoveryEntry struct {
	Transport uint8 // TRTYPE
	Family    uint8 // ADRFAM
	Subtype   uint8 // SUBTYPE
	TREQ      uint8
	PortID    uint16
	CNTLID    uint16 // AnyController: the dynamic controller model
	AdminSize uint16 // ASQSZ: entries of the admin submission queue
	Flags     uint16 // EFLAGS
	ServiceID string // TRSVCID: the TCP port in decimal
	SubNQN    string
	Address   string // TRADDR
	Security  uint8  // TSAS SECTYPE: 0 none
}

// Values of a DiscoveryEntry's fields.
const (
	TransportTCP = 3

	FamilyIPv4 = 1
	FamilyIPv6 = 2

	SubtypeDiscovery        = 1 // a referral
	SubtypeNVM              = 2
	SubtypeCurrentDiscovery = 3
)

// AppendDiscoveryLog encodes a whole discovery log page. generation changes whenever the entries do.
func AppendDiscoveryLog(b []byte, generation uint64, entries []DiscoveryEntry) []byte {
	var f [DiscoveryHeaderLen]byte
	le.PutUint64(f[0:], generation)
	le.PutUint64(f[8:], uint64(len(entries)))
	b = append(b, f[:]...)
	for i := range entries {
		b = entries[i].append(b)
	}
	return b
}

func (e *DiscoveryEntry) append(b []byte) []byte {
	var f [DiscoveryEntryLen]byte
	f[0], f[1], f[2], f[3] = e.Transport, e.Family, e.Subtype, e.TREQ
	le.PutUint16(f[4:], e.PortID)
	le.PutUint16(f[6:], e.CNTLID)
	le.PutUint16(f[8:], e.AdminSize)
	le.PutUint16(f[10:], e.Flags)
	putASCII(f[32:64], e.ServiceID)
	putNQN(f[256:], e.SubNQN)
	putASCII(f[512:768], e.Address)
	f[768] = e.Security
	return append(b, f[:]...)
}

// ParseDiscoveryHeader decodes the start of a discovery log page: the generation, and the number
// of entries that follow.
func ParseDiscoveryHeader(b []byte) (generation, entries uint64, err error) {
	if len(b) < 16 {
		return 0, 0, fmt.Errorf("parse discovery log: %d bytes", len(b))
	}
	return le.Uint64(b), le.Uint64(b[8:]), nil
}

// ParseDiscoveryEntry decodes one entry of DiscoveryEntryLen bytes.
func ParseDiscoveryEntry(b []byte) (e DiscoveryEntry, err error) {
	if len(b) != DiscoveryEntryLen {
		return e, fmt.Errorf("parse discovery entry: %d bytes, not %d", len(b), DiscoveryEntryLen)
	}
	e = DiscoveryEntry{
		Transport: b[0], Family: b[1], Subtype: b[2], TREQ: b[3],
		PortID: le.Uint16(b[4:]), CNTLID: le.Uint16(b[6:]), AdminSize: le.Uint16(b[8:]), Flags: le.Uint16(b[10:]),
		ServiceID: parseASCII(b[32:64]), Address: parseASCII(b[512:768]), Security: b[768],
	}
	if e.SubNQN, err = parseNQN(b[256:]); err != nil {
		return e, fmt.Errorf("parse discovery entry's NQN: %w", err)
	}
	return e, nil
}
