// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package routeros

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestRow(t *testing.T) {
	s, err := parseReply([]string{"!re", "=slot=a=b", ".tag=7", "=slot-default=c", "=.id=*1", "=empty=", "=bare", "=twice=1", "=twice=2", "stray"})
	if err != nil || s.tag != 7 || s.message != "stray" {
		t.Fatalf("parseReply = %+v, %v", s, err)
	}
	for name, want := range map[string]string{
		"slot": "a=b", "slot-default": "c", ".id": "*1", "empty": "", "bare": "", "twice": "2",
		"id": "", "slo": "", "tag": "", ".tag": "", "stray": "",
	} {
		if got := s.row.Get(name); got != want {
			t.Errorf("Get(%q) = %q, want %q", name, got, want)
		}
	}
	if want := []string{"=slot=a=b", "=slot-default=c", "=.id=*1", "=empty=", "=bare", "=twice=1", "=twice=2"}; !slices.Equal(s.row, want) {
		t.Errorf("row = %q, want %q", s.row, want)
	}
	if (Row{"", "=", "x"}).Get("slot") != "" || Row(nil).Get("slot") != "" {
		t.Error("an attribute was found where there is none")
	}
}

// TestSentencesAreKept shows that what was read stays as it was while more is read, also behind a
// sentence that is larger than what the reader keeps of its memory.
func TestSentencesAreKept(t *testing.T) {
	var wire []byte
	want := [][]string{{"!re", "=slot=a", "=b"}, {"!re", strings.Repeat("x", 5*step), "=c"}, slices.Repeat([]string{"d"}, 2*step), {"!done"}}
	for _, words := range want {
		wire = AppendSentence(wire, words...)
	}
	r := NewReader(bytes.NewReader(wire))
	var got [][]string
	for range want {
		words, err := r.ReadSentence()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, words)
		if cap(r.buf) > 4*step || cap(r.ends) > step {
			t.Errorf("the reader keeps %d bytes and %d words", cap(r.buf), cap(r.ends))
		}
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Error("sentences changed after they were read")
	}
}
