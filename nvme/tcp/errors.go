// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	"errors"
	"fmt"
)

// FatalStatus is why a connection is terminated: the FES field of a termination request.
type FatalStatus uint16

// The fatal error statuses (Transport 1.0, 3.6.2.4).
const (
	FatalHeaderField  FatalStatus = 0x01 // invalid PDU header field; Info is its offset
	FatalSequence     FatalStatus = 0x02 // PDU sequence error
	FatalHeaderDigest FatalStatus = 0x03 // header digest error; Info is the digest received
	FatalOutOfRange   FatalStatus = 0x04 // data transfer out of range
	FatalLimit        FatalStatus = 0x05 // R2T limit or data transfer limit exceeded
	FatalUnsupported  FatalStatus = 0x06 // unsupported parameter; Info is its offset
)

// String returns the specification's name of the status.
func (s FatalStatus) String() string {
	switch s {
	case FatalHeaderField:
		return "invalid PDU header field"
	case FatalSequence:
		return "PDU sequence error"
	case FatalHeaderDigest:
		return "header digest error"
	case FatalOutOfRange:
		return "data transfer out of range"
	case FatalLimit:
		return "data transfer limit exceeded"
	case FatalUnsupported:
		return "unsupported parameter"
	}
	return fmt.Sprintf("FatalStatus(%#x)", uint16(s))
}

// ErrDataDigest says that the data of a PDU does not match its digest. It is not fatal to the connection;
// the command fails with StatusTransientTransport (Transport 1.0, 3.3.2.1).
var ErrDataDigest = errors.New("data digest mismatch")

// A ProtocolError is a fatal error that the peer made. Who meets it sends its TermReq and closes
// the connection.
type ProtocolError struct {
	Status FatalStatus
	Info   uint32 // see FatalStatus
	Reason string // for people
	Header []byte // of the PDU in error
}

// Error implements error.
func (e *ProtocolError) Error() string { return fmt.Sprintf("%v: %s", e.Status, e.Reason) }

// TermReq returns the termination request that tells the peer of the error.
func (e *ProtocolError) TermReq(fromController bool) TermReq {
	return TermReq{FromController: fromController, Status: e.Status, Info: e.Info, Header: e.Header}
}
