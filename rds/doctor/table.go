// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteText writes the report for a person.
func (r *Report) WriteText(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s, RouterOS %s, up %s, at %s over %s\n\n", or(r.Board, "box"), or(r.RouterOS, "unknown"), or(r.Uptime, "unknown"), r.Address, r.Transport)
	return errors.Join(err, r.writeChecks(w), r.writeAnswers(w), r.writeRefusals(w),
		list(w, "\nWhat has changed since the earlier report:", r.Changes),
		list(w, "\nLEFT BEHIND, remove it by hand or run the write test again:", r.Left))
}

func (r *Report) writeChecks(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, err := fmt.Fprintln(t, "RESULT\tCHECK\tSEEN")
	for _, c := range r.Checks {
		err = errors.Join(err, row(t, string(c.Result), c.Name, c.Seen))
		if c.Do != "" {
			err = errors.Join(err, row(t, "", "", "-> "+c.Do))
		}
	}
	return errors.Join(err, t.Flush())
}

func (r *Report) writeAnswers(w io.Writer) error {
	if len(r.Answers) == 0 {
		return nil
	}
	_, err := fmt.Fprintln(w, "\nWhat this box does, and how a simulated box must be set to do the same:")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, head := fmt.Fprintln(t, "QUESTION\tSWITCH\tSEEN")
	err = errors.Join(err, head)
	for _, a := range r.Answers {
		set, seen := "-", a.Seen
		switch {
		case a.Unsettled != "":
			set, seen = or(a.Switch, "-")+": not settled", a.Unsettled
		case a.Switch != "":
			set = a.Switch + ": " + a.Value
		}
		err = errors.Join(err, row(t, a.Question, set, seen))
	}
	return errors.Join(err, t.Flush())
}

func (r *Report) writeRefusals(w io.Writer) error {
	if len(r.Refusals) == 0 {
		return nil
	}
	_, err := fmt.Fprintln(w, "\nWhat the box refused, in its words:")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range r.Refusals {
		err = errors.Join(err, row(t, f.Question, fmt.Sprintf("%q", f.Text), f.Command))
	}
	return errors.Join(err, t.Flush())
}

// list writes lines below a title, if there are any.
func list(w io.Writer, title string, lines []string) (err error) {
	if len(lines) > 0 {
		_, err = fmt.Fprintln(w, title)
	}
	for _, l := range lines {
		err = errors.Join(err, row(w, "  "+l))
	}
	return err
}

// row writes cells, from which what would break the table is taken.
func row(w io.Writer, cells ...string) error {
	for i, c := range cells {
		cells[i] = strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return ' '
			}
			return r
		}, c)
	}
	_, err := fmt.Fprintln(w, strings.Join(cells, "\t"))
	return err
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
