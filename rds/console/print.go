// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// wrapWidth is where the console breaks lines for an exec request without a pty.
const wrapWidth = 80

// ErrTruncated says that output ends in the middle of a line.
var ErrTruncated = errors.New("truncated output")

// A Printed row is one of a print.
type Printed struct {
	Number int    // counts the rows of one print
	Flags  string // letters, explained in the print's first line
	// Row has the properties, a comment among them. Spaced thousands are joined; all other values are as
	// the console rounds them: a file-size of "1024.0GiB" is not exact.
	Row map[string]string
}

var (
	rowForm      = regexp.MustCompile(`^ {0,3}([0-9]{1,6})(?:\s+([A-Za-z*]{1,16}))?(?:\s+(.*))?$`)
	printedForm  = regexp.MustCompile(`^[A-Za-z.][A-Za-z0-9.-]{0,63}$`)
	groupForm    = regexp.MustCompile(`^[0-9]{3}$`)
	runIn        = regexp.MustCompile(`(\s{3,}|\x01)[A-Za-z.][A-Za-z0-9.-]*=`)
	thousandForm = regexp.MustCompile(`^[0-9]{1,3}$`)
)

// ParsePrint reads what "print detail" and "print terse" print: an explanation of flags, and rows that go
// on in lines that are indented, or that were broken at 80 columns, wherever that was. The error is a
// *routeros.Trap where the output is an error of the console's, ErrTruncated, or ErrMalformed: what can be
// read in two ways is refused.
func ParsePrint(out string) ([]Printed, error) {
	if t := refusal(out); t != nil {
		return nil, t
	}
	if out != "" && !strings.HasSuffix(out, "\n") {
		return nil, ErrTruncated
	}
	if strings.Contains(out, seam) {
		return nil, fmt.Errorf("a control character: %w", ErrMalformed)
	}
	var rows []Printed
	for _, text := range logical(skipHeader(unbreak(out))) {
		row, err := parsePrinted(text)
		if err != nil {
			return nil, fmt.Errorf("row %d of a print: %w", len(rows), err)
		}
		if n := len(rows); n > 0 && rows[n-1].Number >= row.Number {
			return nil, fmt.Errorf("row %d comes after row %d: %w", row.Number, rows[n-1].Number, ErrMalformed)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// unbreak returns the lines, those that the console broke joined.
func unbreak(out string) []string {
	var lines []string
	hard := true // no line is wider than the console
	for out != "" {
		line, rest, _ := cutLine(out)
		hard = hard && len(line) <= wrapWidth
		lines = append(lines, line)
		out = rest
	}
	if !hard {
		return lines
	}
	var joined []string
	var b strings.Builder
	for i, line := range lines {
		text := strings.TrimLeft(line, " ")
		if i > 0 && len(lines[i-1]) == wrapWidth && text != "" && len(line)-len(text) >= indent {
			line = seam + text
		}
		b.WriteString(line)
		if i == len(lines)-1 || len(lines[i]) != wrapWidth {
			joined = append(joined, b.String())
			b.Reset()
		}
	}
	return joined
}

const (
	// indent is how far lines are indented that belong to the row above, at least.
	indent = 4
	// seam stands where an indented line follows one that is full: a value may go on there.
	seam = "\x01"
)

// skipHeader drops the explanation of the flags, which may take more than one line.
func skipHeader(lines []string) []string {
	i := 0
	for i < len(lines) && strings.TrimSpace(lines[i]) == "" {
		i++
	}
	if i == len(lines) || !strings.HasPrefix(lines[i], "Flags:") {
		return lines[i:]
	}
	for i++; i < len(lines) && strings.TrimSpace(lines[i]) != "" && !rowForm.MatchString(lines[i]); {
		i++
	}
	return lines[i:]
}

// logical joins the lines of each row with line feeds. A line that belongs to no row stands for itself,
// and is refused later.
func logical(lines []string) []string {
	var rows []string
	for first := 0; first < len(lines); {
		end := first + 1
		for end < len(lines) && strings.TrimSpace(lines[end]) != "" && !rowForm.MatchString(lines[end]) {
			end++
		}
		if strings.TrimSpace(lines[first]) != "" {
			rows = append(rows, strings.Join(lines[first:end], "\n"))
		}
		first = end
	}
	return rows
}

func parsePrinted(text string) (Printed, error) {
	first, rest, _ := strings.Cut(text, "\n")
	head := rowForm.FindStringSubmatch(first)
	if head == nil {
		return Printed{}, fmt.Errorf("%.60q is no row: %w", first, ErrMalformed)
	}
	number, err := strconv.Atoi(head[1])
	if err != nil {
		return Printed{}, fmt.Errorf("%w: %w", err, ErrMalformed)
	}
	p := Printed{Number: number, Flags: head[2], Row: map[string]string{}}
	if text, found := strings.CutPrefix(head[3], ";;;"); found {
		if p.Row["comment"], rest, err = parseComment(text, rest); err != nil {
			return Printed{}, err
		}
	} else {
		rest = head[3] + "\n" + rest
	}
	s := scanner{rest: rest}
	for s.skip(); s.rest != ""; s.skip() {
		name, value, err := s.property()
		if err != nil {
			return Printed{}, err
		}
		if _, twice := p.Row[name]; twice {
			return Printed{}, fmt.Errorf("%s comes twice: %w", name, ErrMalformed)
		}
		p.Row[name] = value
	}
	if _, commented := p.Row["comment"]; len(p.Row) == 0 || commented && len(p.Row) == 1 {
		return Printed{}, fmt.Errorf("row %d has no properties: %w", number, ErrMalformed)
	}
	return p, nil
}

// parseComment reads the comment that begins in a row's first line and goes on up to the line that begins
// with a property.
func parseComment(text, more string) (comment, rest string, err error) {
	parts := []string{strings.Trim(text, " ")}
	for more != "" {
		line, after, _ := strings.Cut(more, "\n")
		line = strings.Trim(line, " ")
		if name, _, found := strings.Cut(line, "="); found && printedForm.MatchString(name) {
			break
		}
		parts, more = append(parts, line), after
	}
	text = strings.TrimLeft(strings.Join(parts, " "), " ")
	// One that ends at the last column runs into the properties.
	if runIn.MatchString(text) {
		return "", "", fmt.Errorf("where a comment ends cannot be told: %w", ErrMalformed)
	}
	return strings.ReplaceAll(text, seam, ""), more, nil
}

// A scanner reads the properties of a row.
type scanner struct{ rest string }

const blank = " \t\n\r" + seam

func (s *scanner) skip() { s.rest = strings.TrimLeft(s.rest, blank) }

// token cuts off what comes before the next blank.
func (s *scanner) token() string {
	i := strings.IndexAny(s.rest, blank)
	if i < 0 {
		i = len(s.rest)
	}
	t := s.rest[:i]
	s.rest = s.rest[i:]
	return t
}

func (s *scanner) property() (name, value string, err error) {
	name, rest, found := strings.Cut(s.rest, "=")
	if !found || !printedForm.MatchString(name) {
		return "", "", fmt.Errorf("%.60q is no property: %w", s.rest, ErrMalformed)
	}
	s.rest = rest
	if strings.HasPrefix(rest, `"`) {
		value, err = s.quoted()
		return name, value, err
	}
	value = s.bare()
	if strings.Contains(value, `"`) {
		return "", "", fmt.Errorf("%s has a quote in the middle: %w", name, ErrMalformed)
	}
	return name, s.thousands(value), nil
}

// bare reads a value without quotes, over the ends of lines that are full.
func (s *scanner) bare() string {
	parts := []string{s.token()}
	for strings.HasPrefix(s.rest, seam) {
		// What is no property goes on with the value.
		after := scanner{rest: s.rest[len(seam):]}
		part := after.token()
		if strings.Contains(part, "=") || groupForm.MatchString(part) {
			break
		}
		parts = append(parts, part)
		s.rest = after.rest
	}
	return strings.Join(parts, "")
}

// maxGroups is how many groups of three digits follow the first ones of a 64-bit number.
const maxGroups = 6

// thousands joins a number with the groups that follow it.
func (s *scanner) thousands(value string) string {
	if !thousandForm.MatchString(value) {
		return value
	}
	for range maxGroups {
		after := scanner{rest: strings.TrimLeft(s.rest, blank)}
		group := after.token()
		if !groupForm.MatchString(group) {
			break
		}
		value += group
		s.rest = after.rest
	}
	return value
}

// escapes are the console's, besides \XX.
const (
	escapes = `"\nrt$?_abfv`
	escaped = "\"\\\n\r\t$? \a\b\f\v"
)

// quoted reads a value in double quotes.
func (s *scanner) quoted() (string, error) {
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		switch c := s.rest[i]; c {
		case '\n':
			return "", fmt.Errorf("a line ends within quotes: %w", ErrMalformed)
		case seam[0]:
		case '"':
			if s.rest = s.rest[i+1:]; s.rest != "" && !strings.ContainsAny(s.rest[:1], blank) {
				return "", fmt.Errorf("%.20q follows a quote: %w", s.rest, ErrMalformed)
			}
			return b.String(), nil
		case '\\':
			n, c, err := unescape(s.rest[i+1:])
			if err != nil {
				return "", err
			}
			b.WriteByte(c)
			i += n
		default:
			b.WriteByte(c)
		}
	}
	return "", fmt.Errorf("a quote is not closed: %w", ErrTruncated)
}

// unescape reads what follows a backslash, and returns how many bytes that is.
func unescape(s string) (int, byte, error) {
	if s != "" {
		if i := strings.IndexByte(escapes, s[0]); i >= 0 {
			return 1, escaped[i], nil
		}
	}
	if len(s) >= 2 && strings.ToUpper(s[:2]) == s[:2] {
		if n, err := strconv.ParseUint(s[:2], 16, 8); err == nil {
			return 2, byte(n), nil
		}
	}
	return 0, 0, fmt.Errorf("%.3q follows a backslash: %w", s, ErrMalformed)
}
