// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	"bytes"
	"fmt"
	"strings"
)

// IdentifyLen is the size of every Identify data structure in bytes.
const IdentifyLen = 4096

// CNS values of Identify: the low byte of CDW10 (Base 2.0, 5.17).
const (
	CNSNamespace         = 0x00
	CNSController        = 0x01
	CNSActiveNamespaces  = 0x02
	CNSDescriptors       = 0x03
	CNSCommandSetNS      = 0x05
	CNSCommandSet        = 0x06
	CNSIndependentNS     = 0x08
	CNSCommandSetSupport = 0x1c
)

// NewIdentify returns an Identify command, with the SGL of its data and without CID.
func NewIdentify(cns uint8, nsid uint32) Command {
	return Command{Opcode: OpIdentify, Flags: FlagSGL, NSID: nsid, CDW10: uint32(cns), SGL: Transport(IdentifyLen)}
}

// Controller types: CNTRLTYPE.
const (
	ControllerIO        = 1
	ControllerDiscovery = 2
)

// A ControllerIdentity is the Identify Controller data structure, as far as block storage over TCP
// uses it (Base 2.0, figure "Identify Controller Data Structure"). Names in comments are the
// specification's.
type ControllerIdentity struct {
	VendorID       uint16 // VID
	SubsysVendorID uint16 // SSVID
	Serial         string // SN, at most 20 ASCII characters
	Model          string // MN, at most 40
	Firmware       string // FR, at most 8
	RAB            uint8
	CMIC           uint8
	MDTS           uint8 // maximum data transfer: 2^MDTS pages of 4 KiB; 0: no limit
	CNTLID         uint16
	Version        uint32 // VER
	OAES           uint32
	Attributes     uint32 // CTRATT
	Type           uint8  // CNTRLTYPE
	OACS           uint16
	AbortLimit     uint8 // ACL, zero-based
	AERLimit       uint8 // AERL, zero-based
	FRMW           uint8
	LPA            uint8
	ErrorEntries   uint8  // ELPE, zero-based
	KAS            uint16 // keep alive granularity in units of 100 ms; 0: not supported
	ANATT          uint8
	ANACAP         uint8
	ANAGroupMax    uint32 // ANAGRPMAX
	ANAGroups      uint32 // NANAGRPID
	SQES           uint8
	CQES           uint8
	MaxCommands    uint16 // MAXCMD
	Namespaces     uint32 // NN
	ONCS           uint16
	VWC            uint8
	AWUN           uint16
	AWUPF          uint16
	SGLS           uint32
	MaxNamespaces  uint32 // MNAN
	SubNQN         string
	IOCCSZ         uint32 // I/O command capsule in units of 16 bytes
	IORCSZ         uint32 // I/O response capsule in units of 16 bytes
	ICDOFF         uint16
	FCATT          uint8
	MSDBD          uint8
	OFCS           uint16
}

// Bits of ControllerIdentity's fields.
const (
	CMICMultiController = 1 << 1
	ONCSDSM             = 1 << 2
	ONCSWriteZeroes     = 1 << 3
	VWCPresent          = 1 << 0
	LPAExtended         = 1 << 2 // Get Log Page with offsets and 32-bit lengths
	// SGLSFabrics: SGLs are supported, and a transport data block and offsets in capsules with them.
	SGLSFabrics = 1<<0 | 1<<20 | 1<<21
)

// Append encodes the structure: IdentifyLen bytes.
func (c *ControllerIdentity) Append(b []byte) []byte {
	var f [IdentifyLen]byte
	le.PutUint16(f[0:], c.VendorID)
	le.PutUint16(f[2:], c.SubsysVendorID)
	putASCII(f[4:24], c.Serial)
	putASCII(f[24:64], c.Model)
	putASCII(f[64:72], c.Firmware)
	f[72], f[76], f[77] = c.RAB, c.CMIC, c.MDTS
	le.PutUint16(f[78:], c.CNTLID)
	le.PutUint32(f[80:], c.Version)
	le.PutUint32(f[92:], c.OAES)
	le.PutUint32(f[96:], c.Attributes)
	f[111] = c.Type
	le.PutUint16(f[256:], c.OACS)
	f[258], f[259], f[260], f[261], f[262] = c.AbortLimit, c.AERLimit, c.FRMW, c.LPA, c.ErrorEntries
	le.PutUint16(f[320:], c.KAS)
	f[342], f[343] = c.ANATT, c.ANACAP
	le.PutUint32(f[344:], c.ANAGroupMax)
	le.PutUint32(f[348:], c.ANAGroups)
	f[512], f[513] = c.SQES, c.CQES
	le.PutUint16(f[514:], c.MaxCommands)
	le.PutUint32(f[516:], c.Namespaces)
	le.PutUint16(f[520:], c.ONCS)
	f[525] = c.VWC
	le.PutUint16(f[526:], c.AWUN)
	le.PutUint16(f[528:], c.AWUPF)
	le.PutUint32(f[536:], c.SGLS)
	le.PutUint32(f[540:], c.MaxNamespaces)
	putNQN(f[768:], c.SubNQN)
	le.PutUint32(f[1792:], c.IOCCSZ)
	le.PutUint32(f[1796:], c.IORCSZ)
	le.PutUint16(f[1800:], c.ICDOFF)
	f[1802], f[1803] = c.FCATT, c.MSDBD
	le.PutUint16(f[1804:], c.OFCS)
	return append(b, f[:]...)
}

// ParseControllerIdentity decodes the structure of IdentifyLen bytes.
func ParseControllerIdentity(b []byte) (c ControllerIdentity, err error) {
	if len(b) != IdentifyLen {
		return c, fmt.Errorf("parse identify controller: %d bytes, not %d", len(b), IdentifyLen)
	}
	c = ControllerIdentity{
		VendorID: le.Uint16(b), SubsysVendorID: le.Uint16(b[2:]),
		Serial: parseASCII(b[4:24]), Model: parseASCII(b[24:64]), Firmware: parseASCII(b[64:72]),
		RAB: b[72], CMIC: b[76], MDTS: b[77], CNTLID: le.Uint16(b[78:]), Version: le.Uint32(b[80:]),
		OAES: le.Uint32(b[92:]), Attributes: le.Uint32(b[96:]), Type: b[111],
		OACS: le.Uint16(b[256:]), AbortLimit: b[258], AERLimit: b[259], FRMW: b[260], LPA: b[261], ErrorEntries: b[262],
		KAS: le.Uint16(b[320:]), ANATT: b[342], ANACAP: b[343],
		ANAGroupMax: le.Uint32(b[344:]), ANAGroups: le.Uint32(b[348:]),
		SQES: b[512], CQES: b[513], MaxCommands: le.Uint16(b[514:]), Namespaces: le.Uint32(b[516:]),
		ONCS: le.Uint16(b[520:]), VWC: b[525], AWUN: le.Uint16(b[526:]), AWUPF: le.Uint16(b[528:]),
		SGLS: le.Uint32(b[536:]), MaxNamespaces: le.Uint32(b[540:]),
		IOCCSZ: le.Uint32(b[1792:]), IORCSZ: le.Uint32(b[1796:]), ICDOFF: le.Uint16(b[1800:]),
		FCATT: b[1802], MSDBD: b[1803], OFCS: le.Uint16(b[1804:]),
	}
	if c.SubNQN, err = parseNQN(b[768:]); err != nil {
		return c, fmt.Errorf("parse identify controller's NQN: %w", err)
	}
	return c, nil
}

// putASCII fills b with s and spaces, cutting what does not fit.
func putASCII(b []byte, s string) {
	for i := copy(b, s); i < len(b); i++ {
		b[i] = ' '
	}
}

func parseASCII(b []byte) string {
	if n := bytes.IndexByte(b, 0); n >= 0 {
		b = b[:n]
	}
	return strings.TrimRight(string(b), " ")
}
