// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

// A sample is a PDU with its data.
type sample struct {
	pdu  PDU
	data []byte
}

var samples = []sample{
	{pdu: ICReq{HPDA: 1, Digest: HeaderDigest | DataDigest, MaxR2T: 3}},
	{pdu: ICResp{CPDA: 2, Digest: DataDigest, MaxH2CData: 1 << 17}},
	{pdu: TermReq{Status: FatalSequence, Info: 7, Header: []byte("a header")}},
	{pdu: TermReq{FromController: true, Status: FatalHeaderField, Info: 3}},
	{pdu: CapsuleCmd{Command: Command{
		Opcode: OpWrite, Flags: FlagSGL, CID: 0x1234, NSID: 1, CDW2: 2, CDW3: 3, MPTR: 1 << 60, SGL: InCapsule(8),
		CDW10: 10, CDW11: 11, CDW12: 12, CDW13: 13, CDW14: 14, CDW15: 15,
	}}, data: []byte("8 bytes!")},
	{pdu: CapsuleCmd{Command: NewIdentify(CNSController, 0)}},
	{pdu: CapsuleResp{Completion: Completion{DW0: 1, DW1: 2, SQHD: 3, SQID: 4, CID: 5, Status: StatusConnectHost | DNR}}},
	{pdu: H2CData{CID: 1, TTag: 2, Offset: 4096, Length: 12, Last: true}, data: []byte("twelve bytes")},
	{pdu: C2HData{CID: 1, Offset: 512, Length: 4, Last: true, Success: true}, data: []byte("four")},
	{pdu: R2T{CID: 1, TTag: 2, Offset: 3 << 12, Length: 1 << 16}},
	{pdu: C2HData{CID: 9, Length: 5}, data: []byte("five!")},
}

func encode(t testing.TB, digest Digest, align uint8, s sample) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	w.Negotiated(digest, align)
	if err := w.WritePDU(s.pdu, s.data); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readSample(r *Reader) (s sample, err error) {
	if s.pdu, err = r.ReadPDU(); err != nil {
		return s, err
	}
	if r.DataLen() > 0 {
		s.data = make([]byte, r.DataLen())
	}
	return s, r.ReadData(s.data)
}

func decode(t testing.TB, digest Digest, b []byte) sample {
	t.Helper()
	r := NewReader(bytes.NewReader(b), Limits{MaxInCapsule: 8192, MaxData: 1 << 20})
	r.Negotiated(digest)
	s, err := readSample(r)
	if err != nil {
		t.Fatalf("read %x: %v", b, err)
	}
	return s
}

func TestRoundTrip(t *testing.T) {
	for _, digest := range []Digest{0, HeaderDigest, DataDigest, HeaderDigest | DataDigest} {
		for _, align := range []uint8{0, 1, MaxAlign} {
			for _, want := range samples {
				b := encode(t, digest, align, want)
				if got := decode(t, digest, b); !reflect.DeepEqual(got, want) {
					t.Errorf("digest %d, alignment %d: got %+v, want %+v", digest, align, got, want)
				}
				if pdo := int(b[3]); pdo%(4*(int(align)+1)) != 0 {
					t.Errorf("%v: PDO %d is not aligned to %d dwords", want.pdu.Type(), pdo, align+1)
				}
			}
		}
	}
}

// TestLayout compares encodings with bytes laid out by hand after the specification's figures.
func TestLayout(t *testing.T) {
	tests := []struct {
		name   string
		digest Digest
		s      sample
		want   string
	}{
		{"ICReq", 0, sample{pdu: ICReq{HPDA: 1, Digest: 3, MaxR2T: 2}}, "00 00 80 00 80000000 0000 01 03 02000000" + strings.Repeat("00", 112)},
		{"ICResp", 0, sample{pdu: ICResp{Digest: 1, MaxH2CData: 0x20000}}, "01 00 80 00 80000000 0000 00 01 00000200" + strings.Repeat("00", 112)},
		{
			"C2HTermReq", HeaderDigest,
			sample{pdu: TermReq{FromController: true, Status: FatalHeaderField, Info: 0x01020304, Header: []byte{0xaa}}},
			"03 00 18 00 19000000 0100 04030201" + strings.Repeat("00", 10) + "aa",
		},
		{
			"CapsuleResp", 0,
			sample{pdu: CapsuleResp{Completion: Completion{DW0: 1, SQHD: 2, CID: 3, Status: StatusConnectHost | DNR}}},
			"05 00 18 00 18000000 01000000 00000000 0200 0000 0300 0883",
		},
		{"R2T", 0, sample{pdu: R2T{CID: 1, TTag: 2, Offset: 3, Length: 4}}, "09 00 18 00 18000000 0100 0200 03000000 04000000 00000000"},
		{
			"H2CData", 0,
			sample{pdu: H2CData{CID: 1, TTag: 2, Offset: 3, Length: 2, Last: true}, data: []byte("ab")},
			"06 04 18 18 1a000000 0100 0200 03000000 02000000 00000000 6162",
		},
		// The check value of CRC32C is that of "123456789" (RFC 3720, B.4 has the polynomial).
		{
			"C2HData", DataDigest,
			sample{pdu: C2HData{CID: 1, Length: 9, Last: true, Success: true}, data: []byte("123456789")},
			"07 0e 18 18 25000000 0100 0000 00000000 09000000 00000000 313233343536373839 839206e3",
		},
		{"CapsuleCmd", 0, sample{pdu: CapsuleCmd{Command: Command{
			Opcode: OpRead, Flags: FlagSGL, CID: 0x0201, NSID: 1, SGL: Transport(0x1000), CDW10: 0x11, CDW12: 7,
		}}}, "04 00 48 00 48000000 02 40 0102 01000000" + strings.Repeat("00", 16) + "0000000000000000 00100000 000000 5a 11000000 00000000 07000000" + strings.Repeat("00", 12)},
	}
	for _, tt := range tests {
		want, err := hex.DecodeString(strings.ReplaceAll(tt.want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := encode(t, tt.digest, 0, tt.s); !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %x\nwant %x", tt.name, got, want)
		}
	}
}

// TestFaults breaks one field of a good PDU at a time.
func TestFaults(t *testing.T) {
	write := samples[4] // CapsuleCmd with data
	data := samples[7]  // H2CData
	plain := samples[6] // CapsuleResp
	term := samples[2]  // H2CTermReq
	both := HeaderDigest | DataDigest
	set := func(i int, v ...byte) func([]byte) { return func(b []byte) { copy(b[i:], v) } }
	tests := []struct {
		name   string
		digest Digest
		s      sample
		damage func([]byte)
		status FatalStatus
		info   uint32
	}{
		{"unknown type", 0, plain, set(0, 0x08), FatalHeaderField, 0},
		{"type beyond all", 0, plain, set(0, 0xff), FatalHeaderField, 0},
		{"HLEN", 0, plain, set(2, 72), FatalHeaderField, 2},
		{"PLEN short of the header", 0, plain, set(4, 23), FatalHeaderField, 4},
		{"PLEN short of the digest", HeaderDigest, plain, set(4, 24), FatalHeaderField, 4},
		{"data where none may be", 0, plain, set(4, 25), FatalHeaderField, 4},
		{"header digest missing", HeaderDigest, plain, set(1, 0), FatalHeaderField, 1},
		{"header digest not negotiated", 0, plain, set(1, 1), FatalHeaderField, 1},
		{"data digest not negotiated", 0, write, set(1, 2), FatalHeaderField, 1},
		{"data digest missing", DataDigest, write, set(1, 0), FatalHeaderField, 1},
		{"PDO in the header", 0, write, set(3, 68), FatalHeaderField, 3},
		{"PDO zero with data", 0, write, set(3, 0), FatalHeaderField, 3},
		{"PDO odd", 0, write, set(3, 74), FatalHeaderField, 3},
		{"PDO at the end", 0, write, set(3, 80), FatalHeaderField, 3},
		{"PDO beyond the end", 0, write, set(3, 240), FatalHeaderField, 3},
		{"DATAL", 0, data, set(16, 13), FatalHeaderField, 16},
		{"4 GiB in a capsule", 0, write, set(4, 0xff, 0xff, 0xff, 0xff), FatalLimit, 0},
		{"4 GiB in an H2CData", 0, data, set(4, 0xff, 0xff, 0xff, 0xff), FatalLimit, 0},
		{"4 GiB in a termination", 0, term, set(4, 0xff, 0xff, 0xff, 0xff), FatalHeaderField, 4},
		{"header damaged", both, write, set(20, 0x55), FatalHeaderDigest, le.Uint32(encode(t, both, 0, write)[72:])},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := encode(t, tt.digest, 0, tt.s)
			tt.damage(b)
			r := NewReader(bytes.NewReader(b), Limits{MaxInCapsule: 4096, MaxData: 4096})
			r.Negotiated(tt.digest)
			_, err := r.ReadPDU()
			var fault *ProtocolError
			if !errors.As(err, &fault) {
				t.Fatalf("got error %v, want a ProtocolError", err)
			}
			if fault.Status != tt.status || fault.Info != tt.info {
				t.Errorf("got %v, info %d; want %v, info %d", fault, fault.Info, tt.status, tt.info)
			}
			if !bytes.Equal(fault.Header, b[:len(fault.Header)]) || len(fault.Header) < commonLen {
				t.Errorf("the fault carries the header %x of %x", fault.Header, b)
			}
			encode(t, 0, 0, sample{pdu: fault.TermReq(true)}) // it can be told
		})
	}
}

func TestLimitsAreExact(t *testing.T) {
	for limit, want := range map[int]bool{7: false, 8: true} {
		r := NewReader(bytes.NewReader(encode(t, 0, 0, samples[4])), Limits{MaxInCapsule: limit})
		if _, err := r.ReadPDU(); (err == nil) != want {
			t.Errorf("8 bytes with limit %d: %v", limit, err)
		}
	}
}

// TestDataDigest: damage to data fails that PDU, and the next one is read.
func TestDataDigest(t *testing.T) {
	b := encode(t, DataDigest, 0, samples[7])
	b[len(b)-digestLen-1] ^= 1
	b = append(b, encode(t, DataDigest, 0, samples[8])...)
	r := NewReader(bytes.NewReader(b), Limits{MaxData: 4096})
	r.Negotiated(DataDigest)
	if _, err := readSample(r); !errors.Is(err, ErrDataDigest) {
		t.Fatalf("damaged data: %v, want ErrDataDigest", err)
	}
	if s, err := readSample(r); err != nil || !reflect.DeepEqual(s, samples[8]) {
		t.Fatalf("after damaged data: %+v, %v", s, err)
	}
}

// TestDataInPieces: data may be read in pieces, and what is left of it is passed over.
func TestDataInPieces(t *testing.T) {
	for _, digest := range []Digest{0, DataDigest} {
		var b []byte
		for range 3 {
			b = append(b, encode(t, digest, 0, samples[7])...)
		}
		r := NewReader(bytes.NewReader(b), Limits{MaxData: 4096})
		r.Negotiated(digest)
		for i, pieces := range [][]int{{5, 7}, {5}, {12}} {
			if _, err := r.ReadPDU(); err != nil {
				t.Fatal(err)
			}
			var got []byte
			for _, n := range pieces {
				p := make([]byte, n)
				if err := r.ReadData(p); err != nil {
					t.Fatal(err)
				}
				got = append(got, p...)
			}
			if want := samples[7].data[:len(got)]; !bytes.Equal(got, want) {
				t.Errorf("PDU %d: got %q, want %q", i, got, want)
			}
		}
		if err := r.ReadData(make([]byte, 1)); err == nil {
			t.Error("read more than there is")
		}
		if _, err := r.ReadPDU(); err != io.EOF {
			t.Errorf("at the end: %v, want io.EOF", err)
		}
	}
}

func TestCutConnection(t *testing.T) {
	for _, s := range samples {
		b := encode(t, HeaderDigest|DataDigest, 3, s)
		for n := range b {
			r := NewReader(bytes.NewReader(b[:n]), Limits{MaxInCapsule: 4096, MaxData: 4096})
			r.Negotiated(HeaderDigest | DataDigest)
			want := io.ErrUnexpectedEOF
			if n == 0 {
				want = io.EOF
			}
			if _, err := readSample(r); err != want {
				t.Fatalf("%v cut to %d bytes: %v, want %v", s.pdu.Type(), n, err, want)
			}
		}
	}
}

func TestWriterRefusesData(t *testing.T) {
	w := NewWriter(io.Discard)
	for _, s := range []sample{
		{H2CData{Length: 5}, []byte("four")},
		{C2HData{Length: 3}, []byte("four")},
		{H2CData{}, nil},
		{R2T{}, []byte("data")},
		{TermReq{Header: make([]byte, 129)}, nil},
	} {
		if err := w.WritePDU(s.pdu, s.data); err == nil {
			t.Errorf("%v with %d bytes of data was written", s.pdu.Type(), len(s.data))
		}
	}
}
