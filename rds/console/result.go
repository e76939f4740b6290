// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"fmt"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// ErrStale says that a guard of a statement did not hold, so that nothing was done. It comes with a
// *routeros.Trap: it is a refusal.
var ErrStale = errors.New("the row is not as it was expected to be")

// A Result is the outcome of a statement.
type Result struct {
	Rows  []routeros.Row // of a List; without properties that are empty or not set
	Value string         // of an Add: the .id
	// Steps is how many changes of a Set were acknowledged, also where it failed.
	Steps int
	// Err is nil, or wraps exactly one of routeros.ErrNotSent, routeros.ErrUnanswered and
	// *routeros.Trap.
	Err error
}

// An exchange is what came of a script that was sent.
type exchange struct {
	out    string
	exited bool                // the box said that the script has ended, so the output is all there is
	status int                 // what it said with that
	err    error               // of the connection
	redact func(string) string // takes secrets out of a text that an error will hold
}

// results reads what an exchange tells of a script's statements. unparsed reports that the box refused
// the script as it stands, and has run none of it.
func (s *script) results(x exchange, statements []Statement) (results []Result, unparsed bool) {
	t := parseOutput(x.out, s.nonce, len(statements))
	results = make([]Result, len(statements))
	if !t.begun {
		x.out = x.redact(x.out)
		err := notBegun(x)
		for i := range results {
			results[i].Err = err
		}
		var trap *routeros.Trap
		return results, errors.As(err, &trap)
	}
	for i, a := range t.answers {
		a.stray = x.redact(a.stray)
		if a.outcome == refused {
			a.text = x.redact(a.text)
		}
		results[i] = a.result(statements[i])
		if a.outcome == open {
			results[i].Err = unanswered(a.stray, x.err, t.err, errShort)
		}
	}
	return results, false
}

// notBegun is the error of a script whose first line did not come.
func notBegun(x exchange) error {
	if x.exited && x.err == nil {
		if t := refusal(x.out); t != nil {
			return fmt.Errorf("the script was not run: %w", t)
		}
	}
	return unanswered(x.out, x.err, errShort)
}

// unanswered wraps the first of the causes.
func unanswered(said string, causes ...error) error {
	for _, cause := range causes {
		if cause == nil {
			continue
		}
		if said != "" {
			return fmt.Errorf("%w: %w: the box said %.200q", routeros.ErrUnanswered, cause, flatten(said[:min(len(said), maxRefusal)]))
		}
		return fmt.Errorf("%w: %w", routeros.ErrUnanswered, cause)
	}
	return routeros.ErrUnanswered
}

func (a answer) result(st Statement) Result {
	r := Result{Steps: a.steps}
	switch a.outcome {
	case open:
		r.Err = routeros.ErrUnanswered
		return r
	case stale:
		r.Err = fmt.Errorf("%w: %w", ErrStale, &routeros.Trap{Category: routeros.CategoryNone, Message: "a guard of the script did not hold"})
		return r
	case refused:
		r.Err = trapOf(a.text)
		return r
	case ok:
	}
	switch st := st.(type) {
	case List:
		r.Rows, r.Err = a.list(st)
		return r
	case Add:
		if r.Value = a.text; !idForm.MatchString(a.text) {
			r.Err = unanswered(a.stray, fmt.Errorf("the row is added and its .id is none: %w", ErrMalformed))
			return r
		}
	case Set:
		r.Steps++
		if r.Steps != len(st.Changes) {
			r.Err = unanswered(a.stray, fmt.Errorf("%d of %d changes are acknowledged: %w", r.Steps, len(st.Changes), ErrMalformed))
			return r
		}
	}
	if t := refusal(a.stray); t != nil {
		// It said yes and no.
		r.Err = unanswered(a.stray, ErrMalformed)
	}
	return r
}

// list returns the rows. Output that nobody asked for may be a part of them.
func (a answer) list(l List) ([]routeros.Row, error) {
	if a.stray != "" {
		if t := refusal(a.stray); t != nil {
			return nil, t
		}
		return nil, unanswered(a.stray, ErrMalformed)
	}
	if err := a.count(l); err != nil {
		return nil, fmt.Errorf("%w: %w", routeros.ErrUnanswered, err)
	}
	return a.rows, nil
}
