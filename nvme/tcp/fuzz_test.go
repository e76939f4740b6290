// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

// FuzzReadPDU: no input makes the Reader panic or take more data than its limits; what it accepts
// is encoded to the same meaning, and to the same bytes where the input's reserved fields are zero
// and its data is not padded.
func FuzzReadPDU(f *testing.F) {
	for _, digest := range []Digest{0, HeaderDigest, DataDigest, HeaderDigest | DataDigest} {
		var all []byte
		for _, s := range samples {
			b := encode(f, digest, 0, s)
			f.Add(uint8(digest), b)
			all = append(all, b...)
		}
		f.Add(uint8(digest), all)
		f.Add(uint8(digest), encode(f, digest, 7, samples[len(samples)-1]))
	}
	f.Fuzz(func(t *testing.T, d uint8, in []byte) {
		digest := Digest(d) & (HeaderDigest | DataDigest)
		limits := Limits{MaxInCapsule: 64, MaxData: 128}
		r := NewReader(bytes.NewReader(in), limits)
		r.Negotiated(digest)
		for rest := in; ; {
			s, err := readSample(r)
			if err != nil {
				checkError(t, err)
				return
			}
			if len(s.data) > limits.MaxData {
				t.Fatalf("%d bytes of data, limit %d", len(s.data), limits.MaxData)
			}
			out := encode(t, digest, 0, s)
			plen := le.Uint32(rest[4:])
			if canonical(rest[:plen], digest) && !bytes.Equal(out, rest[:plen]) {
				t.Fatalf("%v: read %x, wrote %x", s.pdu.Type(), rest[:plen], out)
			}
			again := decode(t, digest, out)
			if !reflect.DeepEqual(again, s) {
				t.Fatalf("read %+v, wrote and read %+v", s, again)
			}
			rest = rest[plen:]
		}
	})
}

func checkError(t *testing.T, err error) {
	t.Helper()
	if fault := (*ProtocolError)(nil); errors.As(err, &fault) && len(fault.Header) > maxTermData {
		t.Fatalf("fault carries a header of %d bytes", len(fault.Header))
	}
}

// reserved names the ranges of a header that the codec writes as zero.
var reserved = map[Type][][2]int{
	TypeICReq:       {{16, 128}},
	TypeICResp:      {{16, 128}},
	TypeH2CTermReq:  {{14, 24}},
	TypeC2HTermReq:  {{14, 24}},
	TypeCapsuleCmd:  {{8 + 36, 8 + 39}}, // in the SGL
	TypeCapsuleResp: {{22, 22}},
	TypeH2CData:     {{20, 24}},
	TypeC2HData:     {{10, 12}, {20, 24}},
	TypeR2T:         {{20, 24}},
}

// canonical reports whether a PDU that was accepted is what the Writer would write for it.
func canonical(b []byte, digest Digest) bool {
	typ := Type(b[0])
	for _, span := range reserved[typ] {
		for _, c := range b[span[0]:span[1]] {
			if c != 0 {
				return false
			}
		}
	}
	if typ == TypeCapsuleResp && b[22]&1 != 0 { // phase tag
		return false
	}
	flags, head := uint8(0), typ.headerLen()
	if typ.digests() && digest&HeaderDigest != 0 {
		flags |= flagHeaderDigest
		head += digestLen
	}
	pdo := 0
	if typ.hasData() && len(b) > head {
		pdo = head
		if digest&DataDigest != 0 {
			flags |= flagDataDigest
		}
	}
	switch typ {
	case TypeH2CData:
		flags |= flagLast
	case TypeC2HData:
		flags |= flagLast | flagSuccess
	}
	return int(b[3]) == pdo && b[1]&^flags == 0
}
