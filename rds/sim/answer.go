// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// An answer writes the reply sentences of one command. It is for one goroutine.
type answer struct {
	s   *session
	c   Command
	buf []byte
	cut bool // the end of the answer gets lost, and the connection with it
}

// re answers a row.
func (a *answer) re(row []field) {
	words := make([]string, 0, len(row)+2)
	words = a.head(words, "!re")
	for _, f := range row {
		words = append(words, "="+f.name+"="+f.value)
	}
	a.append(words)
	if len(a.buf) >= batchSize && !a.cut {
		a.flush()
	}
}

// empty answers that there are no rows.
func (a *answer) empty() { a.append(a.head(nil, "!empty")) }

// done ends the answer.
func (a *answer) done(row ...field) {
	words := a.head(nil, "!done")
	for _, f := range row {
		words = append(words, "="+f.name+"="+f.value)
	}
	a.append(words)
	a.flush()
}

// fail ends the answer with a trap.
func (a *answer) fail(err error) {
	var t *trap
	if !errors.As(err, &t) {
		t = &trap{generalError, "failure: " + err.Error()}
	}
	words := a.head(nil, "!trap")
	if t.category != uncategorized {
		words = append(words, "=category="+number(int64(t.category)))
	}
	a.append(append(words, "=message="+t.message))
	a.done()
}

func (a *answer) head(words []string, kind string) []string {
	words = append(words, kind)
	if a.c.tagged {
		words = append(words, ".tag="+a.c.tag)
	}
	return words
}

func (a *answer) append(words []string) { a.buf = routeros.AppendSentence(a.buf, words...) }

// flush gives what was answered to the writer.
func (a *answer) flush() {
	if a.cut {
		a.s.send(a.buf[:len(a.buf)/2])
		a.s.torn.Store(true)
		a.s.send(nil)
		return
	}
	if len(a.buf) > 0 {
		a.s.send(a.buf)
		a.buf = nil
	}
}
