// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"strconv"
	"strings"
)

// An expr is something that has a value.
type expr interface {
	eval(f *frame) (Value, error)
}

// The expressions.
type (
	literal  struct{ value Value }
	variable string // $name
	property string // of the row that where looks at
	join     []expr // of which a string is made
	bracket  struct{ body *block }
	array    []element
	unary    struct {
		op string
		of expr
	}
	binary struct {
		op          string
		left, right expr
	}
)

// An element is a part of {…}, with a name or without.
type element struct{ name, value expr }

// levels are the operators by how strongly they bind, from the weakest.
var levels = [][]string{
	{"||", "or"},
	{"&&", "and"},
	{"=", "!=", "~", "<=", ">=", "<", ">", "in"},
	{"."},
	{"+", "-"},
	{"*", "/", "%"},
	{"->"},
}

// isWord reports whether an operator is made of letters.
func isWord(op string) bool { return op[0] >= 'a' }

// expression reads an expression. In where, a word that is compared is a property.
func (p *parser) expression(where bool) (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	return p.level(0, where)
}

// level reads operators that bind as strongly as the level or stronger.
func (p *parser) level(n int, where bool) (expr, error) {
	if n == len(levels) {
		return p.operand(where)
	}
	left, err := p.level(n+1, where)
	if err != nil {
		return nil, err
	}
	for {
		op := p.operator(n)
		if op == "" {
			return left, nil
		}
		right, err := p.level(n+1, where)
		if err != nil {
			return nil, err
		}
		if where && n == 2 {
			right = unproperty(right)
		}
		left = binary{op, left, right}
	}
}

// unproperty makes a bare word right of a comparison what it says.
func unproperty(e expr) expr {
	if name, ok := e.(property); ok {
		return literal{word(string(name))}
	}
	return e
}

// operator takes an operator of a level if it is next.
func (p *parser) operator(n int) string {
	at := p.at
	p.spaces()
	for _, op := range levels[n] {
		if !p.has(op) {
			continue
		}
		next := p.at + len(op)
		rest := p.src[next:]
		if isWord(op) && rest != "" && isName(rest[0]) || op == "-" && strings.HasPrefix(rest, ">") {
			continue
		}
		p.at = next
		p.spaces()
		return op
	}
	p.at = at
	return ""
}

// operand reads what operators stand between.
func (p *parser) operand(where bool) (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	p.blanks()
	switch p.peek() {
	case '(':
		p.at++
		e, err := p.expression(where)
		if err != nil {
			return nil, err
		}
		if p.blanks(); !p.accept(")") {
			return nil, p.syntax()
		}
		return e, nil
	case '"', '$', '[':
		return p.value()
	case '{':
		return p.array()
	case '!', '-':
		op := p.src[p.at : p.at+1]
		p.at++
		e, err := p.operand(where)
		if err != nil {
			return nil, err
		}
		return unary{op, e}, nil
	}
	text := p.bare()
	if text == "" {
		return nil, p.syntax()
	}
	if where && (text[0] < '0' || text[0] > '9') && text[0] != '*' {
		return property(text), nil
	}
	return literal{word(text)}, nil
}

// bare reads a word in an expression, such as vm-1, *2, 10.0.0.1 or nvme-tcp-export. A minus behind
// digits alone is an operator.
func (p *parser) bare() string {
	from := p.at
	if p.accept("*") {
		p.while(isName)
		return p.src[from:p.at]
	}
	if digits := p.while(func(c byte) bool { return '0' <= c && c <= '9' }); digits != "" && p.peek() == '-' {
		return digits
	}
	p.while(func(c byte) bool { return isName(c) || c == ':' || c == '@' })
	return p.src[from:p.at]
}

// word is the value of a word that is not quoted.
func word(s string) Value {
	switch s {
	case "yes", "true":
		return Bool(true)
	case "no", "false":
		return Bool(false)
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && strconv.FormatInt(n, 10) == s {
		return Number(n)
	}
	return Text(s)
}

// array reads {value;name=value;…}.
func (p *parser) array() (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	p.at++
	var list array
	for {
		p.blanks()
		if p.accept("}") {
			return list, nil
		}
		if p.accept(";") {
			continue
		}
		value, err := p.operand(false)
		if err != nil {
			return nil, err
		}
		e := element{value: value}
		if p.accept("=") {
			e.name = value
			if e.value, err = p.operand(false); err != nil {
				return nil, err
			}
		}
		list = append(list, e)
		if p.blanks(); p.peek() != ';' && p.peek() != '}' {
			return nil, p.syntax()
		}
	}
}
