// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"regexp"
	"strings"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// refusals are the forms of the console's errors, lower case, and the category that the API gives to such
// a one. The first that fits counts.
var refusals = []struct {
	form     *regexp.Regexp
	category int
}{
	// Cut short: the work may be done.
	{regexp.MustCompile(`^(interrupted|action timed out)`), routeros.CategoryInterrupted},
	{regexp.MustCompile(`^(no such item|bad command name|no such command|(std failure: )?item (does not|doesn't) exist)`), routeros.CategoryMissing},
	{regexp.MustCompile(`^(syntax error|expected |bad parameter |unknown parameter|input does not match |invalid |value of |missing |ambiguous )`), routeros.CategoryArgument},
	{regexp.MustCompile(`^(failure: |std failure: |action failed|error: |error - )`), routeros.CategoryGeneral},
	{regexp.MustCompile(`^(not enough permissions|permission denied|not permitted|can't |cannot |could not |couldn't |already )`), routeros.CategoryNone},
}

// maxRefusal is the longest text that is taken for an error of the console, in bytes.
const maxRefusal = 4096

// refusal returns what the console printed as an error, or nil where it is none that is known.
func refusal(text string) *routeros.Trap {
	if len(text) > maxRefusal {
		return nil
	}
	text = flatten(text)
	for _, r := range refusals {
		if r.form.MatchString(strings.ToLower(text)) {
			return &routeros.Trap{Category: r.category, Message: text}
		}
	}
	return nil
}

// trapOf returns the error that a script caught. Any text is one.
func trapOf(text string) *routeros.Trap {
	if t := refusal(text); t != nil {
		return t
	}
	return &routeros.Trap{Category: routeros.CategoryNone, Message: flatten(text)}
}

// flatten makes one line of a text, where a line as wide as the console goes on in the next.
func flatten(text string) string {
	var b strings.Builder
	for text = strings.TrimSpace(text); text != ""; {
		line, rest, broken := cutLine(text)
		b.WriteString(line)
		if broken && len(line) != wrapWidth {
			b.WriteByte(' ')
		}
		text = rest
	}
	return b.String()
}
