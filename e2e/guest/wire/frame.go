// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"sync"
)

// MaxMessage is the length of the longest message, in bytes.
const MaxMessage = 8 << 20

// A message is a request, the end of one, or an answer.
type message struct {
	ID uint64 `json:"id"`

	// Of a request.
	Op     string          `json:"op,omitempty"`
	Args   json.RawMessage `json:"args,omitempty"`
	Cancel bool            `json:"cancel,omitempty"` // nobody waits for the answer to ID any more

	// Of an answer.
	Done   bool            `json:"done,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// sumLength is that of a line's checksum in hexadecimal digits, with the space that follows.
const sumLength = 9

// encode returns the line of a message. It begins with a line feed, which ends whatever stands before it.
func encode(m message) ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode a message: %w", err)
	}
	if len(text) > MaxMessage {
		return nil, fmt.Errorf("a message has %d bytes, more than %d", len(text), MaxMessage)
	}
	return fmt.Appendf(nil, "\n%08x %s\n", crc32.ChecksumIEEE(text), text), nil
}

// decode reads a line; ok is false for one that is no message.
func decode(line []byte) (m message, ok bool) {
	line = bytes.TrimRight(line, "\r\n")
	if len(line) <= sumLength || line[sumLength-1] != ' ' {
		return m, false
	}
	sum, err := strconv.ParseUint(string(line[:sumLength-1]), 16, 32)
	text := line[sumLength:]
	if err != nil || uint32(sum) != crc32.ChecksumIEEE(text) || json.Unmarshal(text, &m) != nil { //nolint:gosec // of 32 bits
		return message{}, false
	}
	return m, true
}

// A reader finds messages.
type reader struct{ lines *bufio.Reader }

func newReader(r io.Reader) reader { return reader{bufio.NewReaderSize(r, 64<<10)} }

// next returns the next message, and an error when there is none to come.
func (r reader) next() (message, error) {
	for {
		line, err := r.line()
		if err != nil {
			return message{}, err
		}
		if m, ok := decode(line); ok {
			return m, nil
		}
	}
}

// line returns a line that may be a message: of one that is too long, the rest.
func (r reader) line() ([]byte, error) {
	var line []byte
	for {
		part, err := r.lines.ReadSlice('\n')
		if len(line)+len(part) > MaxMessage+sumLength+1 {
			line = line[:0]
		}
		line = append(line, part...)
		if err == nil {
			return line, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
}

// A writer writes messages, one at a time.
type writer struct {
	mu sync.Mutex // held while a message is written: a line is not mixed with another
	w  io.Writer
}

func (w *writer) send(m message) error {
	line, err := encode(m)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.w.Write(line); err != nil {
		return fmt.Errorf("send a message: %w", err)
	}
	return nil
}
