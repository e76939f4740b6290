// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package routeros

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MaxReply is how large the replies to one command may be together, counted as MaxSentence is.
const MaxReply = 64 << 20

// A Row is the attributes of one reply, word by word as they came: "=slot=a". Names keep their leading
// dot, as in ".id".
type Row []string

// Get returns the value of an attribute: "a" for "slot". It is empty where the reply has none.
func (r Row) Get(name string) string {
	value, _ := r.lookup(name)
	return value
}

// lookup is Get, and reports whether there is such an attribute. Of several the last one counts.
func (r Row) lookup(name string) (value string, ok bool) {
	for _, w := range slices.Backward(r) {
		if rest, ok := strings.CutPrefix(strings.TrimPrefix(w, "="), name); ok && (rest == "" || rest[0] == '=') {
			return strings.TrimPrefix(rest, "="), true
		}
	}
	return "", false
}

// A Reply is what a command that succeeded returned.
type Reply struct {
	Re   []Row // of the !re sentences, in order
	Done Row   // of the !done sentence; an add's new item is Done.Get("ret")
}

// A sentence is a reply as it came: its kind, the tag of its command and its attributes.
type sentence struct {
	kind    string // with the exclamation mark
	tag     uint64 // 0: none
	row     Row
	message string // of a !fatal, which comes as a word of its own
	size    int
}

// parseReply takes a reply apart, and takes over its words. An error wraps ErrMalformed, and quotes
// nothing of what came: a peer that is no router may echo the login.
func parseReply(words []string) (sentence, error) {
	s := sentence{kind: words[0], row: words[1:1]}
	if !strings.HasPrefix(s.kind, "!") {
		return sentence{}, fmt.Errorf("reply begins without an exclamation mark: %w", ErrMalformed)
	}
	for _, w := range words[1:] {
		s.size += len(w) + wordCost
		if tag, ok := strings.CutPrefix(w, ".tag="); ok {
			n, err := strconv.ParseUint(tag, 10, 64)
			if err != nil || n == 0 {
				return sentence{}, fmt.Errorf("reply with a tag that is no number: %w", ErrMalformed)
			}
			s.tag = n
			continue
		}
		if !strings.HasPrefix(w, "=") {
			s.message = w
			continue
		}
		s.row = append(s.row, w)
	}
	if m, ok := s.row.lookup("message"); ok {
		s.message = m
	}
	return s, nil
}

// trap returns a !trap sentence as an error.
func (s sentence) trap() *Trap {
	t := &Trap{Category: CategoryNone, Message: s.message}
	if n, err := strconv.Atoi(s.row.Get("category")); err == nil && n >= CategoryMissing && n <= CategoryReturn {
		t.Category = n
	}
	return t
}
