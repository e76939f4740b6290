// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package routeros

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Limits of what a Reader accepts, so that a peer that sends garbage cannot exhaust memory.
const (
	// MaxWord is the longest word in bytes.
	MaxWord = 1 << 20
	// MaxSentence is the largest sentence in bytes; each word counts 16 more than it is long, which
	// is about what it costs in memory.
	MaxSentence = 4 << 20
)

// wordCost is what a word counts beside its bytes: a string header.
const wordCost = 16

// ErrMalformed is wrapped by errors of a Reader about bytes that are no sentence, or one beyond the
// limits. Nothing that follows on the connection can be trusted.
var ErrMalformed = errors.New("malformed sentence")

// AppendSentence appends the wire form of a sentence to dst. Words of no bytes are left out: on the
// wire one would end the sentence.
func AppendSentence(dst []byte, words ...string) []byte {
	for _, w := range words {
		if w != "" {
			dst = append(appendLength(dst, len(w)), w...)
		}
	}
	return append(dst, 0)
}

// appendLength appends a word's length in its shortest form: one to five bytes, of which the first
// tells by its leading one bits how many follow.
func appendLength(dst []byte, n int) []byte {
	switch {
	case n < 0x80:
		return append(dst, byte(n))
	case n < 0x4000:
		return append(dst, 0x80|byte(n>>8), byte(n))
	case n < 0x200000:
		return append(dst, 0xC0|byte(n>>16), byte(n>>8), byte(n))
	case n < 0x10000000:
		return append(dst, 0xE0|byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(dst, 0xF0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// A Reader reads sentences. It is for one goroutine at a time.
type Reader struct {
	r    *bufio.Reader
	buf  []byte // the words of the sentence being read; kept between sentences while it is small
	ends []int  // where in buf each ends
}

// NewReader returns a Reader of r, which it buffers.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, 32<<10)} }

// ReadSentence returns the words of the next sentence, of which there is at least one: empty
// sentences are skipped. The error is io.EOF where the input ends between sentences,
// io.ErrUnexpectedEOF where it ends within one, wraps ErrMalformed for what is no sentence, and is
// otherwise the underlying reader's.
func (r *Reader) ReadSentence() ([]string, error) {
	r.buf, r.ends = r.buf[:0], r.ends[:0]
	room := MaxSentence
	for {
		n, err := r.readLength()
		if err != nil {
			if errors.Is(err, io.EOF) && len(r.ends) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if n == 0 {
			if len(r.ends) == 0 {
				continue
			}
			return r.words(), nil
		}
		if n > MaxWord {
			return nil, fmt.Errorf("word of %d bytes, at most %d are accepted: %w", n, MaxWord, ErrMalformed)
		}
		if room -= n + wordCost; room < 0 {
			return nil, fmt.Errorf("sentence of more than %d bytes: %w", MaxSentence, ErrMalformed)
		}
		if err := r.readWord(n); err != nil {
			return nil, err
		}
	}
}

// words returns the words of the sentence that was read, all in one piece of memory: a listing has
// thousands, and those of a row are kept and dropped together.
func (r *Reader) words() []string {
	text := string(r.buf)
	words := make([]string, len(r.ends))
	from := 0
	for i, to := range r.ends {
		words[i] = text[from:to]
		from = to
	}
	if cap(r.buf) > 4*step || cap(r.ends) > step {
		r.buf, r.ends = nil, nil
	}
	return words
}

// readLength reads a word's length. It takes forms longer than needed, as RouterOS does. A first
// byte above 0xF0 is none: the manual reserves 0xF8 and up for control bytes.
func (r *Reader) readLength() (int, error) {
	first, err := r.r.ReadByte()
	if err != nil {
		return 0, err
	}
	var n uint32
	var more int
	switch {
	case first < 0x80:
		return int(first), nil
	case first < 0xC0:
		n, more = uint32(first&0x3F), 1
	case first < 0xE0:
		n, more = uint32(first&0x1F), 2
	case first < 0xF0:
		n, more = uint32(first&0x0F), 3
	case first == 0xF0:
		more = 4
	default:
		return 0, fmt.Errorf("word begins with reserved byte %#x: %w", first, ErrMalformed)
	}
	for range more {
		b, err := r.r.ReadByte()
		if err != nil {
			return 0, unexpected(err)
		}
		n = n<<8 | uint32(b)
	}
	// An int of 32 bits could not hold every length.
	return int(min(n, MaxWord+1)), nil
}

// step is by how much the buffer grows at a time, in bytes.
const step = 16 << 10

// readWord reads the n bytes of a word. The buffer grows with what arrives, not with what the
// length promises.
func (r *Reader) readWord(n int) error {
	for end := len(r.buf) + n; len(r.buf) < end; {
		from := len(r.buf)
		to := min(end, from+step)
		r.buf = slices.Grow(r.buf, to-from)[:to]
		if _, err := io.ReadFull(r.r, r.buf[from:to]); err != nil {
			return unexpected(err)
		}
	}
	r.ends = append(r.ends, len(r.buf))
	return nil
}

// unexpected turns an end of the input into one within a sentence.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
