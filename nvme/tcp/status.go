// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package tcp

import "fmt"

// Status is the status field of a completion without its phase tag: the status code in bits 7:0,
// its type in bits 10:8, and in the upper bits CRD, M and DNR (Base 2.0, 3.3.3.2.1). It is an
// error, the zero StatusSuccess apart.
type Status uint16

// DNR is the do-not-retry bit: the command fails again if it is sent again.
const DNR Status = 0x4000

// Generic command status (Base 2.0, figure "Generic Command Status Values").
const (
	StatusSuccess            Status = 0x000
	StatusInvalidOpcode      Status = 0x001
	StatusInvalidField       Status = 0x002
	StatusCIDConflict        Status = 0x003
	StatusDataTransfer       Status = 0x004
	StatusInternal           Status = 0x006
	StatusAborted            Status = 0x007 // by an Abort command
	StatusSQDeleted          Status = 0x008 // aborted, its queue is gone
	StatusInvalidNamespace   Status = 0x00b
	StatusSequence           Status = 0x00c
	StatusSGLDescriptorCount Status = 0x00e
	StatusSGLDataLength      Status = 0x00f
	StatusSGLDescriptorType  Status = 0x011
	StatusSGLOffset          Status = 0x016
	StatusHostIDInconsistent Status = 0x018
	StatusKeepAliveExpired   Status = 0x019
	StatusKeepAliveInvalid   Status = 0x01a
	StatusTransientTransport Status = 0x022
	StatusLBARange           Status = 0x080
	StatusCapacity           Status = 0x081
	StatusNotReady           Status = 0x082
)

// Command specific status.
const (
	StatusAbortLimit         Status = 0x103
	StatusAERLimit           Status = 0x105
	StatusInvalidLogPage     Status = 0x109
	StatusFeatureNotSaveable Status = 0x10d
	StatusFeatureNotSettable Status = 0x10e
	StatusConnectFormat      Status = 0x180 // incompatible format
	StatusConnectBusy        Status = 0x181 // controller busy
	StatusConnectInvalid     Status = 0x182 // invalid parameters, as an unknown subsystem
	StatusConnectRestart     Status = 0x183 // restart discovery
	StatusConnectHost        Status = 0x184 // invalid host: not allowed
	StatusDiscoveryRestart   Status = 0x190
	StatusAuthRequired       Status = 0x191
)

// Media and data integrity errors, and path related status.
const (
	StatusWriteFault      Status = 0x280
	StatusUnrecoveredRead Status = 0x281
	StatusCompareFailure  Status = 0x285
	StatusAccessDenied    Status = 0x286
	StatusPathInternal    Status = 0x300
	StatusPathHostAborted Status = 0x371
)

var statusNames = map[Status]string{
	StatusSuccess:            "successful completion",
	StatusInvalidOpcode:      "invalid command opcode",
	StatusInvalidField:       "invalid field in command",
	StatusCIDConflict:        "command ID conflict",
	StatusDataTransfer:       "data transfer error",
	StatusInternal:           "internal error",
	StatusAborted:            "command abort requested",
	StatusSQDeleted:          "command aborted due to SQ deletion",
	StatusInvalidNamespace:   "invalid namespace or format",
	StatusSequence:           "command sequence error",
	StatusSGLDescriptorCount: "invalid number of SGL descriptors",
	StatusSGLDataLength:      "data SGL length invalid",
	StatusSGLDescriptorType:  "SGL descriptor type invalid",
	StatusSGLOffset:          "SGL offset invalid",
	StatusHostIDInconsistent: "host identifier inconsistent format",
	StatusKeepAliveExpired:   "keep alive timer expired",
	StatusKeepAliveInvalid:   "keep alive timeout invalid",
	StatusTransientTransport: "transient transport error",
	StatusLBARange:           "LBA out of range",
	StatusCapacity:           "capacity exceeded",
	StatusNotReady:           "namespace not ready",
	StatusAbortLimit:         "abort command limit exceeded",
	StatusAERLimit:           "asynchronous event request limit exceeded",
	StatusInvalidLogPage:     "invalid log page",
	StatusFeatureNotSaveable: "feature identifier not saveable",
	StatusFeatureNotSettable: "feature not changeable",
	StatusConnectFormat:      "connect incompatible format",
	StatusConnectBusy:        "connect controller busy",
	StatusConnectInvalid:     "connect invalid parameters",
	StatusConnectRestart:     "connect restart discovery",
	StatusConnectHost:        "connect invalid host",
	StatusDiscoveryRestart:   "discovery restart",
	StatusAuthRequired:       "authentication required",
	StatusWriteFault:         "write fault",
	StatusUnrecoveredRead:    "unrecovered read error",
	StatusCompareFailure:     "compare failure",
	StatusAccessDenied:       "access denied",
	StatusPathInternal:       "internal path error",
	StatusPathHostAborted:    "host aborted command",
}

// Code returns the status code and its type, without CRD, M and DNR. Compare it with the
// constants.
func (s Status) Code() Status { return s & 0x7ff }

// Retry reports whether the DNR bit is clear.
func (s Status) Retry() bool { return s&DNR == 0 }

// Err returns nil for StatusSuccess and else the status.
func (s Status) Err() error {
	if s.Code() == StatusSuccess {
		return nil
	}
	return s
}

// Error implements error.
func (s Status) Error() string {
	dnr := ""
	if !s.Retry() {
		dnr = ", do not retry"
	}
	if name, ok := statusNames[s.Code()]; ok {
		return fmt.Sprintf("NVMe status %#03x (%s%s)", uint16(s.Code()), name, dnr)
	}
	return fmt.Sprintf("NVMe status %#03x%s", uint16(s.Code()), dnr)
}
