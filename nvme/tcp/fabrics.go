// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	"bytes"
	"fmt"
)

// Fabrics command types: the low byte of Command.NSID of OpFabrics (Base 2.0, 6).
const (
	FabricsPropertySet = 0x00
	FabricsConnect     = 0x01
	FabricsPropertyGet = 0x04
	FabricsAuthSend    = 0x05
	FabricsAuthReceive = 0x06
	FabricsDisconnect  = 0x08
)

// FabricsType returns the FCTYPE of a Fabrics command.
func (c Command) FabricsType() uint8 { return uint8(c.NSID) }

// A Connect is the command part of Fabrics Connect (Base 2.0, 6.3).
type Connect struct {
	RecFmt     uint16 // 0
	QID        uint16 // 0: the admin queue
	SQSize     uint16 // entries, zero-based
	Attributes uint8  // CATTR
	KATO       uint32 // keep alive timeout in ms, 0: none; of the admin queue
}

// ConnectNoFlowControl is the bit of CATTR that disables submission queue flow control.
const ConnectNoFlowControl = 1 << 2

// Command returns the command, without CID and SGL.
func (c Connect) Command() Command {
	return Command{
		Opcode: OpFabrics, Flags: FlagSGL, NSID: FabricsConnect,
		CDW10: uint32(c.RecFmt) | uint32(c.QID)<<16, CDW11: uint32(c.SQSize) | uint32(c.Attributes)<<16,
		CDW12: c.KATO,
	}
}

// Connect returns the fields of a Fabrics Connect.
func (c Command) Connect() Connect {
	return Connect{
		RecFmt: uint16(c.CDW10), QID: uint16(c.CDW10 >> 16), SQSize: uint16(c.CDW11),
		Attributes: uint8(c.CDW11 >> 16), KATO: c.CDW12,
	}
}

// ConnectData is the data of a Fabrics Connect: 1024 bytes.
type ConnectData struct {
	HostID  [16]byte
	CNTLID  uint16 // AnyController on the admin queue
	SubNQN  string
	HostNQN string
}

// Sizes and values of Fabrics Connect.
const (
	ConnectDataLen = 1024
	// AnyController asks for a controller of the subsystem's choice: the dynamic controller model.
	AnyController = 0xffff
	// MaxNQN is the longest NQN in bytes (Base 2.0, 4.5).
	MaxNQN = 223
	// nqnField is the size of an NQN's field, ended by a zero.
	nqnField = 256
)

// DiscoveryNQN is the well-known NQN of discovery subsystems.
const DiscoveryNQN = "nqn.2014-08.org.nvmexpress.discovery"

// Offsets of ConnectData's fields. A refused Connect tells one as its invalid parameter offset.
const (
	ConnectOffHostID  = 0
	ConnectOffCNTLID  = 16
	ConnectOffSubNQN  = 256
	ConnectOffHostNQN = 512
)

// Append encodes the data. Names longer than MaxNQN are cut.
func (d ConnectData) Append(b []byte) []byte {
	var f [ConnectDataLen]byte
	copy(f[ConnectOffHostID:], d.HostID[:])
	le.PutUint16(f[ConnectOffCNTLID:], d.CNTLID)
	putNQN(f[ConnectOffSubNQN:], d.SubNQN)
	putNQN(f[ConnectOffHostNQN:], d.HostNQN)
	return append(b, f[:]...)
}

// ParseConnectData decodes the data. An error is StatusInvalidField material: a name that does
// not end, or data of another length.
func ParseConnectData(b []byte) (d ConnectData, err error) {
	if len(b) != ConnectDataLen {
		return d, fmt.Errorf("parse connect data: %d bytes, not %d", len(b), ConnectDataLen)
	}
	copy(d.HostID[:], b[ConnectOffHostID:])
	d.CNTLID = le.Uint16(b[ConnectOffCNTLID:])
	if d.SubNQN, err = parseNQN(b[ConnectOffSubNQN:]); err != nil {
		return d, fmt.Errorf("parse subsystem NQN: %w", err)
	}
	if d.HostNQN, err = parseNQN(b[ConnectOffHostNQN:]); err != nil {
		return d, fmt.Errorf("parse host NQN: %w", err)
	}
	return d, nil
}

func putNQN(b []byte, nqn string) { copy(b[:min(nqnField, MaxNQN)], nqn) }

func parseNQN(b []byte) (string, error) {
	n := bytes.IndexByte(b[:nqnField], 0)
	if n < 0 || n > MaxNQN {
		return "", fmt.Errorf("longer than %d bytes", MaxNQN)
	}
	return string(b[:n]), nil
}

// ConnectRefusal returns DW0 of a Connect refused with StatusConnectInvalid: where the invalid
// parameter is, in the data or in the command.
func ConnectRefusal(inData bool, offset uint16) uint32 {
	if inData {
		return uint32(offset) | 1<<16
	}
	return uint32(offset)
}

// A Property is a Fabrics Property Get or Set (Base 2.0, 6.5, 6.6).
type Property struct {
	Offset uint32
	Wide   bool   // 8 bytes, not 4
	Value  uint64 // of a Set
}

// Get returns the Property Get command, without CID.
func (p Property) Get() Command {
	c := Command{Opcode: OpFabrics, Flags: FlagSGL, NSID: FabricsPropertyGet, CDW11: p.Offset}
	if p.Wide {
		c.CDW10 = 1
	}
	return c
}

// Set returns the Property Set command, without CID.
func (p Property) Set() Command {
	c := p.Get()
	c.NSID = FabricsPropertySet
	c.CDW12, c.CDW13 = uint32(p.Value), uint32(p.Value>>32)
	return c
}

// Property returns the fields of a Property Get or Set; false where the size is neither 4 nor 8
// bytes.
func (c Command) Property() (Property, bool) {
	size := c.CDW10 & 7
	p := Property{Offset: c.CDW11, Wide: size == 1, Value: uint64(c.CDW12)}
	if p.Wide {
		p.Value |= uint64(c.CDW13) << 32
	}
	return p, size <= 1
}
