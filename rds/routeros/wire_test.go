// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package routeros

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// TestLength holds the length prefixes of the manual's table, at both ends of each form.
func TestLength(t *testing.T) {
	for _, tt := range []struct {
		n    int
		want []byte
	}{
		{0x1, []byte{0x01}},
		{0x7F, []byte{0x7F}},
		{0x80, []byte{0x80, 0x80}},
		{0x3FFF, []byte{0xBF, 0xFF}},
		{0x4000, []byte{0xC0, 0x40, 0x00}},
		{0x1FFFFF, []byte{0xDF, 0xFF, 0xFF}},
		{0x200000, []byte{0xE0, 0x20, 0x00, 0x00}},
		{0xFFFFFFF, []byte{0xEF, 0xFF, 0xFF, 0xFF}},
		{0x10000000, []byte{0xF0, 0x10, 0x00, 0x00, 0x00}},
		{0x7FFFFFFF, []byte{0xF0, 0x7F, 0xFF, 0xFF, 0xFF}},
	} {
		got := appendLength(nil, tt.n)
		if !bytes.Equal(got, tt.want) {
			t.Errorf("appendLength(%#x) = % x, want % x", tt.n, got, tt.want)
		}
		n, err := NewReader(bytes.NewReader(tt.want)).readLength()
		if want := min(tt.n, MaxWord+1); n != want || err != nil {
			t.Errorf("readLength(% x) = %#x, %v, want %#x", tt.want, n, err, want)
		}
	}
}

// TestSentenceBytes holds the bytes of one whole command.
func TestSentenceBytes(t *testing.T) {
	got := AppendSentence([]byte("x"), "/login", "=name=admin", "", ".tag=7")
	want := "x\x06/login\x0b=name=admin\x06.tag=7\x00"
	if string(got) != want {
		t.Errorf("AppendSentence = %q, want %q", got, want)
	}
}

func TestRoundTrip(t *testing.T) {
	sentences := [][]string{
		{"!done"},
		{"/disk/print", "?type=file", "=.proplist=.id,slot"},
		{"a", strings.Repeat("b", 0x7F), strings.Repeat("c", 0x80), strings.Repeat("d", 0x4000), strings.Repeat("e", MaxWord)},
		{"\x00\xff bytes of any value \r\n"},
	}
	var wire []byte
	for _, s := range sentences {
		wire = AppendSentence(wire, s...)
		wire = AppendSentence(wire) // empty sentences are skipped
	}
	for name, r := range map[string]io.Reader{
		"whole":      bytes.NewReader(wire),
		"fragmented": iotest.OneByteReader(bytes.NewReader(wire)),
	} {
		t.Run(name, func(t *testing.T) {
			rd := NewReader(r)
			for _, want := range sentences {
				got, err := rd.ReadSentence()
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, want) {
					t.Fatalf("ReadSentence = %.80q, want %.80q", got, want)
				}
			}
			if _, err := rd.ReadSentence(); err != io.EOF {
				t.Errorf("ReadSentence at the end = %v, want io.EOF", err)
			}
		})
	}
}

// TestLongLengths shows that forms longer than needed are read.
func TestLongLengths(t *testing.T) {
	for _, wire := range []string{"\x80\x03abc\x00", "\xc0\x00\x03abc\x00", "\xe0\x00\x00\x03abc\x00", "\xf0\x00\x00\x00\x03abc\x00"} {
		got, err := NewReader(strings.NewReader(wire)).ReadSentence()
		if err != nil || !slices.Equal(got, []string{"abc"}) {
			t.Errorf("ReadSentence(%q) = %q, %v, want abc", wire, got, err)
		}
	}
}

func TestReadErrors(t *testing.T) {
	broken := errors.New("broken")
	long := AppendSentence(nil, slices.Repeat([]string{strings.Repeat("x", MaxWord)}, 5)...)
	many := AppendSentence(nil, slices.Repeat([]string{"x"}, MaxSentence/(wordCost+1)+1)...)
	for _, tt := range []struct {
		name string
		r    io.Reader
		want error
	}{
		{"nothing", strings.NewReader(""), io.EOF},
		{"empty sentences only", strings.NewReader("\x00\x00"), io.EOF},
		{"end within a length", strings.NewReader("\x80"), io.ErrUnexpectedEOF},
		{"end within a word", strings.NewReader("\x05abc"), io.ErrUnexpectedEOF},
		{"end before a word", strings.NewReader("\x05"), io.ErrUnexpectedEOF},
		{"end before the last word", strings.NewReader("\x03abc"), io.ErrUnexpectedEOF},
		{"word too long", bytes.NewReader(appendLength(nil, MaxWord+1)), ErrMalformed},
		{"longest length", strings.NewReader("\xf0\xff\xff\xff\xff"), ErrMalformed},
		{"sentence too long", bytes.NewReader(long), ErrMalformed},
		{"too many words", bytes.NewReader(many), ErrMalformed},
		{"reserved byte", strings.NewReader("\xf1\x00\x00\x00\x01a\x00"), ErrMalformed},
		{"control byte", strings.NewReader("\xf8"), ErrMalformed},
		{"reader's error", io.MultiReader(strings.NewReader("\x03ab"), iotest.ErrReader(broken)), broken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			words, err := NewReader(tt.r).ReadSentence()
			if !errors.Is(err, tt.want) || words != nil {
				t.Errorf("ReadSentence = %.40q, %v, want %v", words, err, tt.want)
			}
		})
	}
}

// TestPromisedLength shows that a promise of bytes that never come costs no memory.
func TestPromisedLength(t *testing.T) {
	wire := append(appendLength(nil, MaxWord), "only this"...)
	grown := allocated(func() {
		for range 64 {
			if _, err := NewReader(bytes.NewReader(wire)).ReadSentence(); err != io.ErrUnexpectedEOF {
				t.Fatal(err)
			}
		}
	})
	if most := uint64(64 * (96 << 10)); grown > most {
		t.Errorf("64 promises of %d bytes allocated %d bytes, at most %d expected", MaxWord, grown, most)
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// FuzzReader reads arbitrary bytes: no panic, memory in proportion to the input, and every sentence
// that is read comes back the same after it was written.
func FuzzReader(f *testing.F) {
	f.Add([]byte("\x05!done\x06.tag=1\x00"))
	f.Add([]byte("\xf0\x00\x00\x00\x03abc\x00\x00\x80\x01x\x00"))
	f.Add([]byte("\xef\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := NewReader(bytes.NewReader(wire))
		for {
			words, err := r.ReadSentence()
			if err != nil {
				if err != io.EOF && err != io.ErrUnexpectedEOF && !errors.Is(err, ErrMalformed) {
					t.Fatalf("unexpected kind of error: %v", err)
				}
				break
			}
			if err := checkSentence(words, len(wire)); err != nil {
				t.Fatal(err)
			}
		}
		if most := 32<<10 + 4*len(wire); cap(r.buf) > most {
			t.Fatalf("%d bytes of input hold a buffer of %d", len(wire), cap(r.buf))
		}
	})
}

func checkSentence(words []string, limit int) error {
	if len(words) == 0 {
		return errors.New("empty sentence")
	}
	size := 0
	for _, w := range words {
		size += len(w)
	}
	if size > limit {
		return fmt.Errorf("%d bytes of words from %d of input", size, limit)
	}
	again, err := NewReader(bytes.NewReader(AppendSentence(nil, words...))).ReadSentence()
	if err != nil || !slices.Equal(words, again) {
		return fmt.Errorf("%q came back as %q, %w", words, again, err)
	}
	return nil
}
