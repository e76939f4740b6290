// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package stamp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Size is the size of a part in bytes.
const Size = 4096

// MaxWriter is how long a writer's name may be, in bytes. What is longer is cut off.
const MaxWriter = 32

// The layout of a part. What lies between the header and the checksum is a pattern that changes with the number.
const (
	atNumber = 8
	atPart   = 16
	atWriter = 24
	atBody   = atWriter + MaxWriter
	atSum    = Size - 4
)

var magic = []byte("rdsstamp")

// A Stamp is what a part says of itself.
type Stamp struct {
	Writer string
	Number uint64 // of the write, from 1 on
	Part   int    // of the write, from 0 on
}

// What Read finds besides a stamp.
var (
	ErrBlank = errors.New("nothing was written there")
	ErrTorn  = errors.New("the part is torn")
)

// Put fills a part of Size bytes.
func Put(p []byte, s Stamp) {
	p = p[:Size]
	clear(p)
	copy(p, magic)
	binary.LittleEndian.PutUint64(p[atNumber:], s.Number)
	binary.LittleEndian.PutUint64(p[atPart:], uint64(s.Part)) //nolint:gosec // it counts from 0
	copy(p[atWriter:atBody], s.Writer)
	for i := atBody; i < atSum; i++ {
		p[i] = byte(s.Number + uint64(i)) //nolint:gosec // a pattern, cut off on purpose
	}
	binary.LittleEndian.PutUint32(p[atSum:], crc32.ChecksumIEEE(p[:atSum]))
}

// Read tells what a part of Size bytes says. It is ErrBlank for zeros and ErrTorn for all that is no whole part.
func Read(p []byte) (Stamp, error) {
	if len(p) != Size {
		return Stamp{}, fmt.Errorf("%d bytes are no part: %w", len(p), ErrTorn)
	}
	if !bytes.HasPrefix(p, magic) && bytes.Count(p, []byte{0}) == Size {
		return Stamp{}, ErrBlank
	}
	if binary.LittleEndian.Uint32(p[atSum:]) != crc32.ChecksumIEEE(p[:atSum]) || !bytes.HasPrefix(p, magic) {
		return Stamp{}, ErrTorn
	}
	return Stamp{
		Writer: string(bytes.TrimRight(p[atWriter:atBody], "\x00")),
		Number: binary.LittleEndian.Uint64(p[atNumber:]),
		Part:   int(binary.LittleEndian.Uint64(p[atPart:])), //nolint:gosec // its checksum is right
	}, nil
}
