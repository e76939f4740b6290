// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	"bufio"
	"fmt"
	"hash/crc32"
	"io"
)

// A Writer writes PDUs to a connection, buffered: what was written is on its way only after Flush.
type Writer struct {
	bw     *bufio.Writer
	digest Digest
	align  int // of data, in bytes

	header [maxHeaderLen + digestLen]byte
}

// writeBuffer lets a few completions, or a header with the start of its data, leave in one segment.
const writeBuffer = 16 << 10

// NewWriter returns a Writer of a new connection: without digests.
func NewWriter(w io.Writer) *Writer {
	return &Writer{bw: bufio.NewWriterSize(w, writeBuffer), align: 4}
}

// Negotiated tells the digests that every PDU after ICReq and ICResp carries, and the alignment
// of data that the peer asked for, HPDA or CPDA: in dwords, zero-based, at most MaxAlign.
func (w *Writer) Negotiated(d Digest, alignment uint8) {
	w.digest = d
	w.align = 4 * (int(min(alignment, MaxAlign)) + 1)
}

// MaxAlign is the largest HPDA and CPDA: 128 bytes.
const MaxAlign = 31

// WritePDU writes one PDU. The data of an H2CData or C2HData must be as long as its Length says;
// types that carry no data must have none.
func (w *Writer) WritePDU(p PDU, data []byte) error {
	t := p.Type()
	if err := checkData(p, data); err != nil {
		return err
	}
	hlen := t.headerLen()
	head := hlen
	b := w.header[:]
	clear(b)
	flags := p.flags()
	if t.digests() && w.digest&HeaderDigest != 0 {
		flags |= flagHeaderDigest
		head += digestLen
	}
	plen, pdo := head, 0
	if len(data) > 0 {
		pdo = (head + w.align - 1) / w.align * w.align
		plen = pdo + len(data)
		if w.digest&DataDigest != 0 {
			flags |= flagDataDigest
			plen += digestLen
		}
	}
	term, _ := p.(TermReq)
	plen += len(term.Header)
	b[0], b[1], b[2], b[3] = uint8(t), flags, uint8(hlen), uint8(pdo)
	le.PutUint32(b[4:], uint32(plen))
	p.put(b[commonLen:hlen])
	if head > hlen {
		le.PutUint32(b[hlen:], crc32.Checksum(b[:hlen], castagnoli))
	}
	if _, err := w.bw.Write(b[:head]); err != nil {
		return err
	}
	if _, err := w.bw.Write(term.Header); err != nil {
		return err
	}
	return w.writeData(pdo-head, data)
}

func (w *Writer) writeData(pad int, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	var zero [4 * (MaxAlign + 1)]byte
	if _, err := w.bw.Write(zero[:pad]); err != nil {
		return err
	}
	if _, err := w.bw.Write(data); err != nil {
		return err
	}
	if w.digest&DataDigest == 0 {
		return nil
	}
	_, err := w.bw.Write(le.AppendUint32(nil, crc32.Checksum(data, castagnoli)))
	return err
}

// checkData reports data that does not belong to its PDU.
func checkData(p PDU, data []byte) error {
	n := len(data)
	switch p := p.(type) {
	case CapsuleCmd:
		return nil
	case H2CData:
		if n == 0 || uint64(p.Length) != uint64(n) {
			return fmt.Errorf("write H2CData with DATAL %d and %d bytes of data", p.Length, n)
		}
	case C2HData:
		if n == 0 || uint64(p.Length) != uint64(n) {
			return fmt.Errorf("write C2HData with DATAL %d and %d bytes of data", p.Length, n)
		}
	case TermReq:
		if n != 0 || len(p.Header) > maxTermData {
			return fmt.Errorf("write %v with %d bytes of data and a header of %d", p.Type(), n, len(p.Header))
		}
	default:
		if n != 0 {
			return fmt.Errorf("write %v with %d bytes of data", p.Type(), n)
		}
	}
	return nil
}

// Flush sends what is buffered.
func (w *Writer) Flush() error { return w.bw.Flush() }
