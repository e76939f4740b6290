// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package tcp

// A Command is a submission queue entry of 64 bytes (Base 2.0, 3.3.3.1; Transport 1.0, 3.6.2.6).
type Command struct {
	Opcode uint8
	Flags  uint8 // FUSE in bits 1:0, PSDT in bits 7:6
	CID    uint16
	NSID   uint32 // a Fabrics command has its FCTYPE in the low byte
	CDW2   uint32
	CDW3   uint32
	MPTR   uint64
	SGL    SGL // DPTR
	CDW10  uint32
	CDW11  uint32
	CDW12  uint32
	CDW13  uint32
	CDW14  uint32
	CDW15  uint32
}

// CommandLen and CompletionLen are the sizes of the queue entries in bytes.
const (
	CommandLen    = 64
	CompletionLen = 16
)

// FlagSGL is the PSDT of every command over fabrics: an SGL, its MPTR an address.
const FlagSGL = 1 << 6

// Opcodes of the admin command set.
const (
	OpDeleteIOSQ    = 0x00
	OpGetLogPage    = 0x02
	OpIdentify      = 0x06
	OpAbort         = 0x08
	OpSetFeatures   = 0x09
	OpGetFeatures   = 0x0a
	OpAsyncEventReq = 0x0c
	OpKeepAlive     = 0x18
	OpFabrics       = 0x7f
)

// Opcodes of the NVM command set.
const (
	OpFlush       = 0x00
	OpWrite       = 0x01
	OpRead        = 0x02
	OpCompare     = 0x05
	OpWriteZeroes = 0x08
	OpDSM         = 0x09
)

// BroadcastNSID stands for all namespaces.
const BroadcastNSID = 0xffffffff

func (c *Command) put(b []byte) {
	b[0], b[1] = c.Opcode, c.Flags
	le.PutUint16(b[2:], c.CID)
	le.PutUint32(b[4:], c.NSID)
	le.PutUint32(b[8:], c.CDW2)
	le.PutUint32(b[12:], c.CDW3)
	le.PutUint64(b[16:], c.MPTR)
	c.SGL.put(b[24:])
	for i, v := range [...]uint32{c.CDW10, c.CDW11, c.CDW12, c.CDW13, c.CDW14, c.CDW15} {
		le.PutUint32(b[40+4*i:], v)
	}
}

func parseCommand(b []byte) Command {
	return Command{
		Opcode: b[0], Flags: b[1], CID: le.Uint16(b[2:]), NSID: le.Uint32(b[4:]),
		CDW2: le.Uint32(b[8:]), CDW3: le.Uint32(b[12:]), MPTR: le.Uint64(b[16:]), SGL: parseSGL(b[24:]),
		CDW10: le.Uint32(b[40:]), CDW11: le.Uint32(b[44:]), CDW12: le.Uint32(b[48:]),
		CDW13: le.Uint32(b[52:]), CDW14: le.Uint32(b[56:]), CDW15: le.Uint32(b[60:]),
	}
}

// NewRW returns a Read, Write, Compare or Write Zeroes of blocks (1 to 65536) from lba on. The data
// is described by its SGL, which the caller sets.
func NewRW(opcode uint8, nsid uint32, lba uint64, blocks int) Command {
	return Command{
		Opcode: opcode, Flags: FlagSGL, NSID: nsid,
		CDW10: uint32(lba), CDW11: uint32(lba >> 32), CDW12: uint32(blocks-1) & 0xffff,
	}
}

// LBA returns the first block of a Read, Write, Compare or Write Zeroes.
func (c Command) LBA() uint64 { return uint64(c.CDW11)<<32 | uint64(c.CDW10) }

// Blocks returns the number of blocks of a Read, Write, Compare or Write Zeroes: 1 to 65536.
func (c Command) Blocks() int { return int(c.CDW12&0xffff) + 1 }

// FUA reports whether a Read or Write must reach stable storage before it completes.
func (c Command) FUA() bool { return c.CDW12&FlagFUA != 0 }

// Bits of CDW12 of the NVM commands.
const (
	FlagFUA        = 1 << 30
	FlagDeallocate = 1 << 25 // of Write Zeroes
)

// DSMDeallocate is the bit of CDW11 of Dataset Management that asks to deallocate the ranges.
const DSMDeallocate = 1 << 2

// A DSMRange is one range of a Dataset Management command: 16 bytes (NVM Command Set 1.0, 3.2.3).
type DSMRange struct {
	Attributes uint32
	Blocks     uint32
	LBA        uint64
}

// DSMRangeLen is the size of a DSMRange in bytes; a command has 1 to MaxDSMRanges of them, their
// number, zero-based, in the low byte of CDW10.
const (
	DSMRangeLen  = 16
	MaxDSMRanges = 256
)

// Append encodes the range.
func (r DSMRange) Append(b []byte) []byte {
	b = le.AppendUint32(b, r.Attributes)
	b = le.AppendUint32(b, r.Blocks)
	return le.AppendUint64(b, r.LBA)
}

// ParseDSMRange decodes the first DSMRangeLen bytes of b, which must be there.
func ParseDSMRange(b []byte) DSMRange {
	return DSMRange{Attributes: le.Uint32(b), Blocks: le.Uint32(b[4:]), LBA: le.Uint64(b[8:])}
}

// An SGL is an SGL descriptor (Base 2.0, 4.1.2).
type SGL struct {
	Address uint64 // an offset, where the descriptor's subtype says so
	Length  uint32 // bytes
	ID      uint8  // type in bits 7:4, subtype in bits 3:0
}

// The SGL descriptors that NVMe/TCP uses (Transport 1.0, 3.3.2).
const (
	// SGLInCapsule is a data block in the capsule, Address its offset there.
	SGLInCapsule = 0x01
	// SGLTransport is a transport data block: data travels in H2CData and C2HData.
	SGLTransport = 0x5a
)

// InCapsule returns the descriptor of n bytes in the command's capsule.
func InCapsule(n int) SGL { return SGL{Length: uint32(n), ID: SGLInCapsule} }

// Transport returns the descriptor of n bytes that the transport moves in PDUs of their own.
func Transport(n int) SGL { return SGL{Length: uint32(n), ID: SGLTransport} }

func (s SGL) put(b []byte) {
	le.PutUint64(b, s.Address)
	le.PutUint32(b[8:], s.Length)
	b[15] = s.ID
}

func parseSGL(b []byte) SGL {
	return SGL{Address: le.Uint64(b), Length: le.Uint32(b[8:]), ID: b[15]}
}

// A Completion is a completion queue entry of 16 bytes (Base 2.0, 3.3.3.2).
type Completion struct {
	DW0    uint32
	DW1    uint32
	SQHD   uint16 // submission queue head; reserved where flow control is disabled
	SQID   uint16 // reserved over fabrics
	CID    uint16
	Status Status
}

// Result returns DW0 and DW1 as one number.
func (c Completion) Result() uint64 { return uint64(c.DW1)<<32 | uint64(c.DW0) }

func (c *Completion) put(b []byte) {
	le.PutUint32(b, c.DW0)
	le.PutUint32(b[4:], c.DW1)
	le.PutUint16(b[8:], c.SQHD)
	le.PutUint16(b[10:], c.SQID)
	le.PutUint16(b[12:], c.CID)
	le.PutUint16(b[14:], uint16(c.Status)<<1) // bit 0 is the phase tag, reserved over fabrics
}

func parseCompletion(b []byte) Completion {
	return Completion{
		DW0: le.Uint32(b), DW1: le.Uint32(b[4:]), SQHD: le.Uint16(b[8:]), SQID: le.Uint16(b[10:]),
		CID: le.Uint16(b[12:]), Status: Status(le.Uint16(b[14:]) >> 1),
	}
}
