// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// ErrMalformed says that output has another form than what was asked for has.
var ErrMalformed = errors.New("malformed output")

// outcome is how a statement ended.
type outcome int

const (
	open    outcome = iota // there is no answer
	ok                     // done
	stale                  // a guard did not hold
	refused                // the box said no
)

// An answer is what the output tells of a statement.
type answer struct {
	outcome outcome
	rows    []routeros.Row
	steps   int    // changes of a Set that are done, besides the last
	text    string // the value, or the box's words
	stray   string // what the box said besides
}

// A transcript is the output of a script, taken apart.
type transcript struct {
	begun   bool
	whole   bool     // to the last line
	answers []answer // one for each statement
	err     error    // what is wrong with it; nil where it merely ends too early
}

// parseOutput reads the output of a script of n statements. Whatever it is cut off at, an answer that it
// tells is one that the box gave in full.
func parseOutput(out, nonce string, n int) transcript {
	t := transcript{answers: make([]answer, n)}
	rest, begun := unwrap(out, nonce)
	if t.begun = begun; !begun {
		return t
	}
	r := reader{rest: rest, mark: "@" + nonce + ":", end: ending(nonce, n)}
	now := 0 // the statement that is next to answer
	var pending answer
	for {
		if !r.next(&pending) {
			if now < n {
				t.answers[now] = pending
			}
			return t
		}
		if r.accept(r.end) {
			if now != n {
				t.err = fmt.Errorf("%d of %d statements are answered: %w", now, n, ErrMalformed)
			}
			t.whole = t.err == nil
			return t
		}
		if now == n || !r.accept(r.mark+strconv.Itoa(now)+":") {
			t.err = r.unexpected()
			return t
		}
		if t.err = r.answer(&pending); t.err != nil {
			return t
		}
		if pending.outcome != open {
			t.answers[now] = pending
			pending, now = answer{}, now+1
		}
	}
}

// A reader reads the output behind the first line.
type reader struct {
	rest string
	mark string
	end  string
}

// errShort says that the output ends before its last line.
var errShort = errors.New("the output ends too early")

// next moves to the next mark. The text before it is noted, as far as it may matter, without the line
// breaks around it.
func (r *reader) next(a *answer) (found bool) {
	i := strings.Index(r.rest, r.mark)
	if found = i >= 0; !found {
		i = len(r.rest)
	}
	if len(a.stray) < maxRefusal {
		a.stray += strings.TrimSpace(r.rest[:i])
	}
	r.rest = r.rest[i:]
	return found
}

func (r *reader) accept(text string) (found bool) {
	r.rest, found = strings.CutPrefix(r.rest, text)
	return found
}

// unexpected is the error of output that is not what it should be, or ends.
func (r *reader) unexpected() error {
	if len(r.rest) < len(r.end)+len("error;") && !strings.Contains(r.rest, "\n") {
		return errShort
	}
	return r.malformed("something else than an answer")
}

// malformed says where the output is wrong. It quotes nothing of it.
func (r *reader) malformed(what string) error {
	return fmt.Errorf("%s %d bytes before the end: %w", what, len(r.rest), ErrMalformed)
}

// answer reads what follows a statement's mark.
func (r *reader) answer(a *answer) (err error) {
	switch {
	case r.accept("row;"):
		row, err := r.row()
		if err != nil {
			return err
		}
		a.rows = append(a.rows, row)
		return nil
	case r.accept("step;"):
		a.steps++
		return nil
	case r.accept("stale;"):
		a.outcome = stale
		return nil
	case r.accept("ok;"):
		a.outcome = ok
	case r.accept("error;"):
		a.outcome = refused
	default:
		return r.unexpected()
	}
	if a.text, err = r.value(); err != nil {
		a.outcome = open
	}
	return err
}

// row reads properties up to the semicolon that stands alone.
func (r *reader) row() (routeros.Row, error) {
	row := routeros.Row{}
	seen := map[string]bool{}
	for !r.accept(";") {
		name, rest, found := strings.Cut(r.rest, "=")
		if !found || !propertyForm.MatchString(name) {
			return nil, r.unexpected()
		}
		if seen[name] {
			return nil, fmt.Errorf("%s comes twice in a row: %w", name, ErrMalformed)
		}
		r.rest = rest
		value, err := r.value()
		if err != nil {
			return nil, err
		}
		seen[name] = true
		row = append(row, "="+name+"="+value)
	}
	return row, nil
}

// value reads a length, a colon, as many bytes, and a semicolon.
func (r *reader) value() (string, error) {
	digits, rest, found := strings.Cut(r.rest, ":")
	n, err := strconv.ParseUint(digits, 10, 31)
	switch {
	case !found && len(r.rest) < 11:
		return "", errShort
	case !found || err != nil || strconv.FormatUint(n, 10) != digits:
		return "", r.malformed("no length")
	case uint64(len(rest)) <= n:
		return "", errShort
	case rest[n] == ';':
		r.rest = rest[n+1:]
		return rest[:n], nil
	}
	// A line break in the value may have become two bytes on its way through the console.
	if value, after, found := folded(rest, int(n)); found {
		r.rest = after
		return value, nil
	}
	return "", r.malformed(fmt.Sprintf("a value that has not the %d bytes it should have", n))
}

// folded reads a value of n bytes, where CR LF counts as one.
func folded(s string, n int) (value, rest string, found bool) {
	var b strings.Builder
	for ; b.Len() < n && s != ""; s = s[1:] {
		if strings.HasPrefix(s, "\r\n") {
			s = s[1:]
		}
		b.WriteByte(s[0])
	}
	rest, found = strings.CutPrefix(s, ";")
	return b.String(), rest, found && b.Len() == n
}

// count checks that a listing has as many rows as the box counted, and the properties that were asked for.
func (a answer) count(l List) error {
	if a.text != strconv.Itoa(len(a.rows)) {
		return fmt.Errorf("the box counted another number of rows than the %d that came: %w", len(a.rows), ErrMalformed)
	}
	asked := make(map[string]bool, len(l.Properties))
	for _, p := range l.Properties {
		asked[p] = true
	}
	for _, row := range a.rows {
		for _, word := range row {
			if name, _, _ := strings.Cut(word[1:], "="); !asked[name] {
				return fmt.Errorf("a row has %.64s, which was not asked for: %w", name, ErrMalformed)
			}
		}
	}
	return nil
}
