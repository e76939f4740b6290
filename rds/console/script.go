// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	// MaxBatch is how many statements may be sent together.
	MaxBatch = 32
	// MaxScript is the length of the longest script in bytes. An SSH peer need not take packets of more
	// than 32768 (RFC 4253, 6.1).
	MaxScript = 32000

	// rulerWidth is the length of a script's first line of output. A console that wraps lines at fewer
	// columns shows it there; the output of one that wraps at more is refused when it does.
	rulerWidth = 300
)

// A script is the wire form of statements, and what is needed to read its output.
type script struct {
	nonce string // 8 hex digits
	index []int  // of each statement in the batch
	parts []string
	size  int // of the text in bytes
}

func newScript(nonce string) *script {
	s := &script{nonce: nonce}
	s.size = len(s.text())
	return s
}

// wrapped returns a statement with what catches its error. mark is where its answers begin.
func wrapped(st Statement, mark string) (string, error) {
	body, err := st.body(mark)
	if err != nil {
		return "", err
	}
	return `:onerror e in={` + body + `} do={:put ("` + mark + `error;" . [:len $e] . ":" . $e . ";")};`, nil
}

// add appends the batch's statement of an index. It reports false where there is no room for it.
func (s *script) add(index int, st Statement) (bool, error) {
	part, err := wrapped(st, s.mark(len(s.parts)))
	switch {
	case err != nil:
		return false, err
	case len(s.parts) == 0 && s.size+len(part) > MaxScript:
		return false, fmt.Errorf("a statement of %d bytes is longer than a script may be", len(part))
	case len(s.parts) == MaxBatch || s.size+len(part)+1 > MaxScript: // 1: the number may get a digit more
		return false, nil
	}
	s.parts = append(s.parts, part)
	s.index = append(s.index, index)
	s.size += len(part)
	return true, nil
}

// mark is what each answer of a statement begins with.
func (s *script) mark(i int) string { return `@` + s.nonce + `:` + strconv.Itoa(i) + `:` }

func (s *script) ruler() string { return ruler(s.nonce) }

func ruler(nonce string) string {
	head := `@` + nonce + `:begin:`
	return head + strings.Repeat("=", rulerWidth-len(head))
}

func ending(nonce string, n int) string { return fmt.Sprintf("@%s:end;%d;", nonce, n) }

func (s *script) text() string {
	return `:put "` + s.ruler() + `";` + strings.Join(s.parts, "") + `:put "` + ending(s.nonce, len(s.parts)) + `"`
}
