// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package tcp

// Feature identifiers: the low byte of CDW10 of Get Features and Set Features (Base 2.0, 5.27.1).
const (
	FeatureArbitration       = 0x01
	FeaturePowerManagement   = 0x02
	FeatureTemperature       = 0x04
	FeatureErrorRecovery     = 0x05
	FeatureWriteCache        = 0x06
	FeatureNumberOfQueues    = 0x07
	FeatureInterruptCoalesce = 0x08
	FeatureInterruptVector   = 0x09
	FeatureWriteAtomicity    = 0x0a
	FeatureAsyncEvents       = 0x0b
	FeatureKeepAlive         = 0x0f
	FeatureHostIdentifier    = 0x81
)

// Log page identifiers: the low byte of CDW10 of Get Log Page (Base 2.0, 5.16.1).
const (
	LogSupported     = 0x00
	LogErrors        = 0x01
	LogSMART         = 0x02
	LogFirmwareSlots = 0x03
	LogChangedNS     = 0x04
	LogEffects       = 0x05
	LogANA           = 0x0c
	LogDiscovery     = 0x70
)

// Sizes of log pages in bytes.
const (
	ErrorLogEntryLen   = 64
	SMARTLogLen        = 512
	FirmwareLogLen     = 512
	ChangedNSLogLen    = 4096
	EffectsLogLen      = 4096
	DiscoveryHeaderLen = 1024
	DiscoveryEntryLen  = 1024
)

// A LogPage is the command part of Get Log Page.
type LogPage struct {
	ID     uint8
	Length int    // bytes, a multiple of 4
	Offset uint64 // bytes
	Retain bool   // RAE: the event that the page belongs to stays outstanding
}

// Command returns the command, without CID and SGL.
func (l LogPage) Command(nsid uint32) Command {
	numd := uint32(l.Length/4 - 1)
	c := Command{
		Opcode: OpGetLogPage, Flags: FlagSGL, NSID: nsid,
		CDW10: uint32(l.ID) | numd<<16, CDW11: numd >> 16, CDW12: uint32(l.Offset), CDW13: uint32(l.Offset >> 32),
	}
	if l.Retain {
		c.CDW10 |= 1 << 15
	}
	return c
}

// LogPage returns the fields of a Get Log Page. The length may be up to 16 GiB: check it.
func (c Command) LogPage() LogPage {
	numd := uint64(c.CDW10>>16) | uint64(c.CDW11&0xffff)<<16
	return LogPage{
		ID: uint8(c.CDW10), Length: int((numd + 1) * 4),
		Offset: uint64(c.CDW12) | uint64(c.CDW13)<<32, Retain: c.CDW10&(1<<15) != 0,
	}
}

// An AsyncEvent is DW0 of the completion of an Asynchronous Event Request (Base 2.0, 5.2.1).
type AsyncEvent struct {
	Kind    uint8 // type: AsyncNotice, …
	Info    uint8
	LogPage uint8
}

// Types and information of asynchronous events.
const (
	AsyncError  = 0
	AsyncHealth = 1
	AsyncNotice = 2

	NoticeNamespaceChanged = 0x00
	NoticeANAChanged       = 0x03
	NoticeDiscoveryChanged = 0xf0
)

// Uint32 encodes the event.
func (e AsyncEvent) Uint32() uint32 {
	return uint32(e.Kind&7) | uint32(e.Info)<<8 | uint32(e.LogPage)<<16
}

// ParseAsyncEvent decodes the event.
func ParseAsyncEvent(dw0 uint32) AsyncEvent {
	return AsyncEvent{Kind: uint8(dw0 & 7), Info: uint8(dw0 >> 8), LogPage: uint8(dw0 >> 16)}
}

// Bits of OAES and of FeatureAsyncEvents.
const (
	NotifyNamespace = 1 << 8
	NotifyANA       = 1 << 11
	NotifyDiscovery = 1 << 31
)
