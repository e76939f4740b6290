// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Limits bounds the data that a Reader takes.
type Limits struct {
	// MaxInCapsule is the most data in one CapsuleCmd, in bytes. Zero: none, as for a host.
	MaxInCapsule int
	// MaxData is the most data in one H2CData or C2HData, in bytes. Zero: none.
	MaxData int
}

// A Reader reads PDUs from a connection.
type Reader struct {
	br     *bufio.Reader
	limits Limits
	digest Digest

	header  [maxHeaderLen + digestLen]byte // of the PDU at hand
	hlen    int                            // valid bytes in header, without HDGST
	dataLen int                            // of the PDU at hand
	left    int                            // of dataLen, not read yet
	sum     uint32                         // CRC32C of what was read
}

// readBuffer holds a burst of small PDUs. Larger data bypasses it.
const readBuffer = 16 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// NewReader returns a Reader of a new connection: without digests.
func NewReader(r io.Reader, limits Limits) *Reader {
	return &Reader{br: bufio.NewReaderSize(r, readBuffer), limits: limits}
}

// Negotiated tells the digests that every PDU after ICReq and ICResp carries.
func (r *Reader) Negotiated(d Digest) { r.digest = d }

// DataLen returns the length in bytes of the data of the PDU at hand.
func (r *Reader) DataLen() int { return r.dataLen }

// ReadPDU reads the next header, after skipping what was not read of the data before it. Data
// follows if DataLen is positive. io.EOF means that the connection ended between two PDUs; a
// *ProtocolError is the peer's fault and final.
func (r *Reader) ReadPDU() (PDU, error) {
	if err := r.skip(); err != nil {
		return nil, err
	}
	r.hlen, r.dataLen, r.left, r.sum = 0, 0, 0, 0
	if _, err := io.ReadFull(r.br, r.header[:commonLen]); err != nil {
		return nil, err
	}
	r.hlen = commonLen
	t, flags := Type(r.header[0]), r.header[1]
	hlen, plen := int(r.header[2]), int64(le.Uint32(r.header[4:]))
	if t.headerLen() == 0 {
		return nil, r.Fault(FatalHeaderField, 0, "unknown PDU type %#02x", uint8(t))
	}
	if hlen != t.headerLen() {
		return nil, r.Fault(FatalHeaderField, 2, "%v with HLEN %d", t, hlen)
	}
	hdgst := 0
	if t.digests() && r.digest&HeaderDigest != 0 {
		hdgst = digestLen
	}
	if plen < int64(hlen+hdgst) {
		return nil, r.Fault(FatalHeaderField, 4, "%v with PLEN %d", t, plen)
	}
	if _, err := io.ReadFull(r.br, r.header[commonLen:hlen+hdgst]); err != nil {
		return nil, cut(err)
	}
	r.hlen = hlen
	if err := r.checkDigest(t, flags, hdgst); err != nil {
		return nil, err
	}
	if err := r.layout(t, flags, hlen+hdgst, plen); err != nil {
		return nil, err
	}
	p := parsePDU(t, flags, r.header[commonLen:hlen])
	return r.finish(p, int(plen)-hlen)
}

// checkDigest verifies the header digest and that the flags tell of it.
func (r *Reader) checkDigest(t Type, flags uint8, hdgst int) error {
	if (flags&flagHeaderDigest != 0) != (hdgst > 0) {
		return r.Fault(FatalHeaderField, 1, "%v with HDGSTF %v against what was negotiated", t, hdgst == 0)
	}
	if hdgst == 0 {
		return nil
	}
	got := le.Uint32(r.header[r.hlen:])
	if want := crc32.Checksum(r.header[:r.hlen], castagnoli); got != want {
		return r.Fault(FatalHeaderDigest, got, "%v with HDGST %#08x, computed %#08x", t, got, want)
	}
	return nil
}

// layout checks where the data of a PDU lies and how long it is, and moves to its start. head is
// the length of the header with its digest.
func (r *Reader) layout(t Type, flags uint8, head int, plen int64) error {
	body := plen - int64(head)
	if t == TypeH2CTermReq || t == TypeC2HTermReq {
		if body > maxTermData {
			return r.Fault(FatalHeaderField, 4, "%v with %d bytes of data", t, body)
		}
		return nil
	}
	if !t.hasData() && body != 0 {
		return r.Fault(FatalHeaderField, 4, "%v with PLEN %d", t, plen)
	}
	ddgst := 0
	if body > 0 && r.digest&DataDigest != 0 {
		ddgst = digestLen
	}
	if (flags&flagDataDigest != 0) != (ddgst > 0) {
		return r.Fault(FatalHeaderField, 1, "%v with DDGSTF %v against what was negotiated", t, ddgst == 0)
	}
	if body == 0 {
		return r.checkLength(t, 0)
	}
	pdo := int(r.header[3])
	n := plen - int64(pdo) - int64(ddgst)
	if pdo < head || pdo%4 != 0 || n <= 0 {
		return r.Fault(FatalHeaderField, 3, "%v with PDO %d and PLEN %d", t, pdo, plen)
	}
	if err := r.checkLength(t, n); err != nil {
		return err
	}
	if _, err := r.br.Discard(pdo - head); err != nil {
		return cut(err)
	}
	r.dataLen, r.left = int(n), int(n)
	return nil
}

// checkLength compares the length of the data with the limits and with what the header says.
func (r *Reader) checkLength(t Type, n int64) error {
	limit := r.limits.MaxData
	if t == TypeCapsuleCmd {
		limit = r.limits.MaxInCapsule
	}
	if n > int64(limit) {
		return r.Fault(FatalLimit, 0, "%v with %d bytes of data, limit %d", t, n, limit)
	}
	if t != TypeH2CData && t != TypeC2HData {
		return nil
	}
	if length := le.Uint32(r.header[16:]); n == 0 || int64(length) != n {
		return r.Fault(FatalHeaderField, 16, "%v with DATAL %d and %d bytes of data", t, length, n)
	}
	return nil
}

// finish reads what belongs to the header but has no fixed length: a termination request's copy
// of the header in error.
func (r *Reader) finish(p PDU, n int) (PDU, error) {
	term, ok := p.(TermReq)
	if !ok {
		return p, nil
	}
	if n > 0 {
		term.Header = make([]byte, n)
		if _, err := io.ReadFull(r.br, term.Header); err != nil {
			return nil, cut(err)
		}
	}
	return term, nil
}

// ReadData fills p with the next bytes of the data of the PDU at hand. With its last byte the
// digest is verified: ErrDataDigest leaves the connection usable. It is a mistake of the caller,
// and an error, to ask for more than DataLen in all.
func (r *Reader) ReadData(p []byte) error {
	if len(p) > r.left {
		return fmt.Errorf("read %d bytes of a PDU's data, %d left", len(p), r.left)
	}
	if len(p) == 0 {
		return nil
	}
	if _, err := io.ReadFull(r.br, p); err != nil {
		return cut(err)
	}
	r.left -= len(p)
	if r.digest&DataDigest == 0 {
		return nil
	}
	r.sum = crc32.Update(r.sum, castagnoli, p)
	if r.left > 0 {
		return nil
	}
	var b [digestLen]byte
	if _, err := io.ReadFull(r.br, b[:]); err != nil {
		return cut(err)
	}
	if got := le.Uint32(b[:]); got != r.sum {
		return fmt.Errorf("verify DDGST %#08x, computed %#08x: %w", got, r.sum, ErrDataDigest)
	}
	return nil
}

// skip discards the data, and its digest, that the caller did not read.
func (r *Reader) skip() error {
	if r.left == 0 {
		return nil
	}
	n := r.left
	if r.digest&DataDigest != 0 {
		n += digestLen
	}
	r.left = 0
	_, err := r.br.Discard(n)
	return cut(err)
}

// Fault returns the error of a peer whose PDU at hand breaks the protocol.
func (r *Reader) Fault(status FatalStatus, info uint32, format string, args ...any) *ProtocolError {
	return &ProtocolError{
		Status: status, Info: info, Reason: fmt.Sprintf(format, args...), Header: bytes.Clone(r.header[:r.hlen]),
	}
}

// cut turns an end of the stream within a PDU into io.ErrUnexpectedEOF.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
