// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package script

import "strings"

// A parser reads a script. What a character means depends on where it stands, so there are no tokens:
// each rule reads characters.
type parser struct {
	src      string
	at       int
	depth    int
	commands Commands
	menu     string // that a name without a path belongs to; "" is the root
}

// errorAt makes a syntax error about a place.
func (p *parser) errorAt(at int, message string) error {
	line := 1 + strings.Count(p.src[:at], "\n")
	return &SyntaxError{Message: message, Line: line, Column: at - strings.LastIndexByte(p.src[:at], '\n')}
}

func (p *parser) syntax() error { return p.errorAt(p.at, "syntax error") }

// enter counts how deep the parser is in a script.
func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return p.errorAt(p.at, "script is nested too deep")
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

// peek returns the next character, or 0 at the end.
func (p *parser) peek() byte {
	if p.at < len(p.src) {
		return p.src[p.at]
	}
	return 0
}

// has reports whether s is next.
func (p *parser) has(s string) bool { return strings.HasPrefix(p.src[p.at:], s) }

// accept takes s if it is next.
func (p *parser) accept(s string) bool {
	if !p.has(s) {
		return false
	}
	p.at += len(s)
	return true
}

// spaces skips blanks and continued lines.
func (p *parser) spaces() {
	for p.at < len(p.src) {
		switch {
		case p.peek() == ' ', p.peek() == '\t', p.peek() == '\r':
			p.at++
		case p.accept("\\\n"), p.accept("\\\r\n"):
		default:
			return
		}
	}
}

// blanks skips blanks and ends of lines.
func (p *parser) blanks() {
	for {
		p.spaces()
		if !p.accept("\n") {
			return
		}
	}
}

// ended reports whether a statement ends here.
func (p *parser) ended() bool {
	return p.at >= len(p.src) || strings.IndexByte(";\n]})", p.peek()) >= 0
}

func isName(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}

func isVar(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// while takes characters as long as they are of a kind.
func (p *parser) while(of func(byte) bool) string {
	from := p.at
	for p.at < len(p.src) && of(p.src[p.at]) {
		p.at++
	}
	return p.src[from:p.at]
}

// isBare reports whether a character may be in a value that is not quoted.
func isBare(c byte) bool {
	return c > ' ' && c != 0x7f && strings.IndexByte("\"$\\;[](){}=!<>&|#'?^`", c) < 0
}

// quoted reads a string in quotes, with what is to be put into it.
func (p *parser) quoted() (expr, error) {
	start := p.at
	p.at++
	var parts join
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			parts = append(parts, literal{Text(b.String())})
			b.Reset()
		}
	}
	for p.at < len(p.src) {
		switch c := p.src[p.at]; c {
		case '"':
			p.at++
			flush()
			if len(parts) == 0 {
				return literal{Text("")}, nil
			}
			if l, ok := parts[0].(literal); ok && len(parts) == 1 {
				return l, nil
			}
			return parts, nil
		case '\\':
			text, err := p.escape()
			if err != nil {
				return nil, err
			}
			b.WriteString(text)
		case '$':
			flush()
			e, err := p.dollar()
			if err != nil {
				return nil, err
			}
			parts = append(parts, e)
		default:
			b.WriteByte(c)
			p.at++
		}
	}
	return nil, p.errorAt(start, "syntax error")
}

// escapes are the characters behind a backslash and what they stand for.
var escapes = map[byte]string{
	'"': "\"", '\\': "\\", '$': "$", '?': "?", '_': " ", 'n': "\n", 'r': "\r", 't': "\t",
	'a': "\a", 'b': "\b", 'f': "\f", 'v': "\v",
}

// escape reads what begins with a backslash in a string.
func (p *parser) escape() (string, error) {
	const hex = "0123456789ABCDEF"
	if p.at+2 < len(p.src) {
		high, low := strings.IndexByte(hex, p.src[p.at+1]), strings.IndexByte(hex, p.src[p.at+2])
		if high >= 0 && low >= 0 {
			p.at += 3
			return string([]byte{byte(high<<4 | low)}), nil
		}
	}
	if p.accept("\\\n") || p.accept("\\\r\n") {
		p.spaces()
		return "", nil
	}
	if p.at+1 < len(p.src) {
		if text, ok := escapes[p.src[p.at+1]]; ok {
			p.at += 2
			return text, nil
		}
	}
	return "", p.syntax()
}

// dollar reads $name, $"name", $[commands] or $(expression).
func (p *parser) dollar() (expr, error) {
	p.at++
	switch p.peek() {
	case '[':
		return p.substitution()
	case '(':
		return p.parens()
	case '"':
		end := strings.IndexByte(p.src[p.at+1:], '"')
		if end <= 0 {
			return nil, p.syntax()
		}
		name := p.src[p.at+1 : p.at+1+end]
		p.at += end + 2
		return variable(name), nil
	}
	name := p.while(isVar)
	if name == "" {
		return nil, p.syntax()
	}
	return variable(name), nil
}

// value reads the value of an argument.
func (p *parser) value() (expr, error) {
	switch p.peek() {
	case '"':
		return p.quoted()
	case '$':
		return p.dollar()
	case '[':
		return p.substitution()
	case '(':
		return p.parens()
	}
	word := p.while(isBare)
	if word == "" {
		return nil, p.syntax()
	}
	return literal{Text(word)}, nil
}

// substitution reads [commands].
func (p *parser) substitution() (expr, error) {
	p.at++
	b, err := p.block(']')
	if err != nil {
		return nil, err
	}
	return bracket{b}, nil
}

// braces reads {commands}.
func (p *parser) braces() (*block, error) {
	if !p.accept("{") {
		return nil, p.syntax()
	}
	return p.block('}')
}

// parens reads (expression).
func (p *parser) parens() (expr, error) {
	p.at++
	e, err := p.expression(false)
	if err != nil {
		return nil, err
	}
	p.blanks()
	if !p.accept(")") {
		return nil, p.syntax()
	}
	return e, nil
}
