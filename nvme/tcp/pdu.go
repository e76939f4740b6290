// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	"encoding/binary"
	"fmt"
)

// Type is the PDU type (Transport 1.0, 3.6.1 "PDU Common Header").
type Type uint8

// The PDU types.
const (
	TypeICReq       Type = 0x00
	TypeICResp      Type = 0x01
	TypeH2CTermReq  Type = 0x02
	TypeC2HTermReq  Type = 0x03
	TypeCapsuleCmd  Type = 0x04
	TypeCapsuleResp Type = 0x05
	TypeH2CData     Type = 0x06
	TypeC2HData     Type = 0x07
	TypeR2T         Type = 0x09
)

// String returns the specification's name of the type.
func (t Type) String() string {
	switch t {
	case TypeICReq:
		return "ICReq"
	case TypeICResp:
		return "ICResp"
	case TypeH2CTermReq:
		return "H2CTermReq"
	case TypeC2HTermReq:
		return "C2HTermReq"
	case TypeCapsuleCmd:
		return "CapsuleCmd"
	case TypeCapsuleResp:
		return "CapsuleResp"
	case TypeH2CData:
		return "H2CData"
	case TypeC2HData:
		return "C2HData"
	case TypeR2T:
		return "R2T"
	}
	return fmt.Sprintf("Type(%#02x)", uint8(t))
}

// headerLen returns the HLEN of a PDU type, or 0 for a type that does not exist.
func (t Type) headerLen() int {
	switch t {
	case TypeICReq, TypeICResp:
		return 128
	case TypeCapsuleCmd:
		return 72
	case TypeH2CTermReq, TypeC2HTermReq, TypeCapsuleResp, TypeH2CData, TypeC2HData, TypeR2T:
		return 24
	}
	return 0
}

// digests reports whether the type carries the digests that were negotiated.
func (t Type) digests() bool { return t >= TypeCapsuleCmd }

// hasData reports whether the type may carry data (PDO, DATA, DDGST).
func (t Type) hasData() bool {
	return t == TypeCapsuleCmd || t == TypeH2CData || t == TypeC2HData
}

// Sizes in bytes.
const (
	commonLen    = 8   // PDU common header
	maxHeaderLen = 128 // the longest HLEN: ICReq and ICResp
	digestLen    = 4   // HDGST and DDGST
	maxTermData  = 128 // of a termination request: the header of the PDU in error
)

// The bits of the FLAGS field.
const (
	flagHeaderDigest = 1 << 0
	flagDataDigest   = 1 << 1
	flagLast         = 1 << 2 // LAST_PDU
	flagSuccess      = 1 << 3 // SUCCESS, in C2HData
)

// Digest is the set of digests of a connection: the DGST field of ICReq and ICResp.
type Digest uint8

// The digests, both CRC32C.
const (
	HeaderDigest Digest = 1 << 0
	DataDigest   Digest = 1 << 1
)

// MinMaxH2CData is the least MAXH2CDATA that an ICResp may announce, in bytes.
const MinMaxH2CData = 4096

// A PDU is the header of one protocol data unit: ICReq, ICResp, TermReq, CapsuleCmd, CapsuleResp,
// H2CData, C2HData or R2T, as values.
type PDU interface {
	// Type returns the PDU type that the value is sent as.
	Type() Type
	// flags returns the type-specific flags.
	flags() uint8
	// put encodes what follows the common header; b is that long and zero.
	put(b []byte)
}

// An ICReq opens a connection (3.6.2.2).
type ICReq struct {
	PFV    uint16 // PDU format version; 0
	HPDA   uint8  // alignment of C2HData's data, in dwords, zero-based: 0 to 31
	Digest Digest // the digests that the host wants
	MaxR2T uint32 // R2Ts that may be outstanding for a command, zero-based
}

// An ICResp answers an ICReq (3.6.2.3).
type ICResp struct {
	PFV        uint16
	CPDA       uint8  // alignment of data from the host, in dwords, zero-based: 0 to 31
	Digest     Digest // the digests that the connection uses from now on
	MaxH2CData uint32 // the most data in one H2CData, in bytes; at least MinMaxH2CData
}

// A TermReq ends a connection after a fatal error (3.6.2.4, 3.6.2.5).
type TermReq struct {
	FromController bool        // C2HTermReq, not H2CTermReq
	Status         FatalStatus // FES
	Info           uint32      // FEI
	Header         []byte      // of the PDU in error, at most 128 bytes
}

// A CapsuleCmd is a command, perhaps with its data (3.6.2.6).
type CapsuleCmd struct{ Command Command }

// A CapsuleResp is a completion (3.6.2.7).
type CapsuleResp struct{ Completion Completion }

// H2CData is data to the controller, as an R2T asked for (3.6.2.8).
type H2CData struct {
	CID    uint16 // CCCID: the command
	TTag   uint16 // of the R2T
	Offset uint32 // DATAO, in the command's data
	Length uint32 // DATAL
	Last   bool   // the last PDU for the R2T
}

// C2HData is data to the host (3.6.2.9).
type C2HData struct {
	CID     uint16
	Offset  uint32
	Length  uint32
	Last    bool // the last PDU of the command's data
	Success bool // the command succeeded and no CapsuleResp follows; only with Last
}

// An R2T asks the host for data of a command (3.6.2.10).
type R2T struct {
	CID    uint16
	TTag   uint16
	Offset uint32 // R2TO, in the command's data
	Length uint32 // R2TL
}

// Type implements PDU.
func (ICReq) Type() Type { return TypeICReq }

// Type implements PDU.
func (ICResp) Type() Type { return TypeICResp }

// Type implements PDU.
func (t TermReq) Type() Type {
	if t.FromController {
		return TypeC2HTermReq
	}
	return TypeH2CTermReq
}

// Type implements PDU.
func (CapsuleCmd) Type() Type { return TypeCapsuleCmd }

// Type implements PDU.
func (CapsuleResp) Type() Type { return TypeCapsuleResp }

// Type implements PDU.
func (H2CData) Type() Type { return TypeH2CData }

// Type implements PDU.
func (C2HData) Type() Type { return TypeC2HData }

// Type implements PDU.
func (R2T) Type() Type { return TypeR2T }

func (ICReq) flags() uint8       { return 0 }
func (ICResp) flags() uint8      { return 0 }
func (TermReq) flags() uint8     { return 0 }
func (CapsuleCmd) flags() uint8  { return 0 }
func (CapsuleResp) flags() uint8 { return 0 }
func (R2T) flags() uint8         { return 0 }

func (d H2CData) flags() uint8 {
	if d.Last {
		return flagLast
	}
	return 0
}

func (d C2HData) flags() (f uint8) {
	if d.Last {
		f |= flagLast
	}
	if d.Success {
		f |= flagSuccess
	}
	return f
}

var le = binary.LittleEndian

func (p ICReq) put(b []byte) {
	le.PutUint16(b, p.PFV)
	b[2] = p.HPDA
	b[3] = uint8(p.Digest)
	le.PutUint32(b[4:], p.MaxR2T)
}

func (p ICResp) put(b []byte) {
	le.PutUint16(b, p.PFV)
	b[2] = p.CPDA
	b[3] = uint8(p.Digest)
	le.PutUint32(b[4:], p.MaxH2CData)
}

func (t TermReq) put(b []byte) {
	le.PutUint16(b, uint16(t.Status))
	le.PutUint32(b[2:], t.Info)
}

func (p CapsuleCmd) put(b []byte) { p.Command.put(b) }

func (p CapsuleResp) put(b []byte) { p.Completion.put(b) }

func (d H2CData) put(b []byte) { putTransfer(b, d.CID, d.TTag, d.Offset, d.Length) }

func (d C2HData) put(b []byte) { putTransfer(b, d.CID, 0, d.Offset, d.Length) }

func (r R2T) put(b []byte) { putTransfer(b, r.CID, r.TTag, r.Offset, r.Length) }

// putTransfer encodes what H2CData, C2HData and R2T have in common.
func putTransfer(b []byte, cid, ttag uint16, offset, length uint32) {
	le.PutUint16(b, cid)
	le.PutUint16(b[2:], ttag)
	le.PutUint32(b[4:], offset)
	le.PutUint32(b[8:], length)
}

// parsePDU decodes a header of a known type whose length was checked. b is what follows the common
// header.
func parsePDU(t Type, flags uint8, b []byte) PDU {
	switch t {
	case TypeICReq:
		return ICReq{PFV: le.Uint16(b), HPDA: b[2], Digest: Digest(b[3]), MaxR2T: le.Uint32(b[4:])}
	case TypeICResp:
		return ICResp{PFV: le.Uint16(b), CPDA: b[2], Digest: Digest(b[3]), MaxH2CData: le.Uint32(b[4:])}
	case TypeH2CTermReq, TypeC2HTermReq:
		return TermReq{FromController: t == TypeC2HTermReq, Status: FatalStatus(le.Uint16(b)), Info: le.Uint32(b[2:])}
	case TypeCapsuleCmd:
		return CapsuleCmd{Command: parseCommand(b)}
	case TypeCapsuleResp:
		return CapsuleResp{Completion: parseCompletion(b)}
	case TypeH2CData:
		return H2CData{
			CID: le.Uint16(b), TTag: le.Uint16(b[2:]), Offset: le.Uint32(b[4:]), Length: le.Uint32(b[8:]),
			Last: flags&flagLast != 0,
		}
	case TypeC2HData:
		return C2HData{
			CID: le.Uint16(b), Offset: le.Uint32(b[4:]), Length: le.Uint32(b[8:]),
			Last: flags&flagLast != 0, Success: flags&flagSuccess != 0,
		}
	case TypeR2T:
		return R2T{CID: le.Uint16(b), TTag: le.Uint16(b[2:]), Offset: le.Uint32(b[4:]), Length: le.Uint32(b[8:])}
	}
	return nil
}
