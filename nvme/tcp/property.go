// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package tcp

// Offsets of the controller properties (Base 2.0, 3.1.3).
const (
	PropCAP  = 0x00 // 8 bytes
	PropVS   = 0x08
	PropCC   = 0x14
	PropCSTS = 0x1c
)

// Version20 is the VS and VER of NVMe Base 2.0; Version13 and Version14 of 1.3 and 1.4.
const (
	Version13 = 0x00010300
	Version14 = 0x00010400
	Version20 = 0x00020000
)

// Capabilities is the CAP property.
type Capabilities struct {
	MaxQueueEntries uint16 // MQES, zero-based
	Contiguous      bool   // CQR
	TimeoutHalfSec  uint8  // TO, in units of 500 ms
	NVMCommandSet   bool   // CSS bit 0
}

// Uint64 encodes the property.
func (c Capabilities) Uint64() uint64 {
	v := uint64(c.MaxQueueEntries) | uint64(c.TimeoutHalfSec)<<24
	if c.Contiguous {
		v |= 1 << 16
	}
	if c.NVMCommandSet {
		v |= 1 << 37
	}
	return v
}

// ParseCapabilities decodes the property.
func ParseCapabilities(v uint64) Capabilities {
	return Capabilities{
		MaxQueueEntries: uint16(v), Contiguous: v&(1<<16) != 0,
		TimeoutHalfSec: uint8(v >> 24), NVMCommandSet: v&(1<<37) != 0,
	}
}

// Fields of the CC property.
const (
	CCEnable         = 1 << 0
	CCShutdownMask   = 3 << 14
	CCShutdownNormal = 1 << 14
	CCShutdownAbrupt = 2 << 14
	// CCEntrySizes is IOSQES 6 and IOCQES 4: entries of 64 and 16 bytes.
	CCEntrySizes     = 6<<16 | 4<<20
	CCEntrySizesMask = 0xff << 16
)

// Fields of the CSTS property.
const (
	CSTSReady            = 1 << 0
	CSTSFatal            = 1 << 1
	CSTSShutdownMask     = 3 << 2
	CSTSShutdownComplete = 2 << 2
)
