// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"math"
	"regexp"
	"slices"
	"strings"
)

func (e literal) eval(*frame) (Value, error) { return e.value, nil }

func (e variable) eval(f *frame) (Value, error) {
	if v := f.lookup(string(e)); v != nil {
		return *v, nil
	}
	return Nothing{}, nil
}

func (e property) eval(f *frame) (Value, error) { return f.row.Get(string(e)), nil }

func (e join) eval(f *frame) (Value, error) {
	var b strings.Builder
	for _, part := range e {
		v, err := part.eval(f)
		if err != nil {
			return nil, err
		}
		b.WriteString(v.String())
	}
	return bounded(Text(b.String()))
}

func (e bracket) eval(f *frame) (Value, error) {
	return e.body.run(f.inner(), true)
}

func (e array) eval(f *frame) (Value, error) {
	list, row := make(List, 0, len(e)), make(Row, 0, len(e))
	for _, el := range e {
		v, err := el.value.eval(f)
		if err != nil {
			return nil, err
		}
		if el.name == nil {
			list = append(list, v)
			continue
		}
		name, err := el.name.eval(f)
		if err != nil {
			return nil, err
		}
		row = append(row, Field{name.String(), v})
	}
	if len(row) == 0 {
		return list, nil
	}
	return row, nil
}

func (e unary) eval(f *frame) (Value, error) {
	v, err := e.of.eval(f)
	if err != nil {
		return nil, err
	}
	if e.op == "!" {
		b, ok := truth(v)
		if _, empty := v.(Nothing); !ok && !empty {
			b, ok = true, true // !comment: whether it has one
		}
		if !ok {
			return nil, fail("cannot negate %s", kind(v))
		}
		return Bool(!b), nil
	}
	n, ok := number(v)
	if !ok {
		return nil, fail("cannot apply - to %s", kind(v))
	}
	return Number(-n), nil
}

func (e binary) eval(f *frame) (Value, error) {
	if err := f.step(); err != nil {
		return nil, err
	}
	left, err := e.left.eval(f)
	if err != nil {
		return nil, err
	}
	switch e.op {
	case "&&", "and", "||", "or":
		b := holds(left)
		if b == (e.op == "||" || e.op == "or") {
			return Bool(b), nil
		}
	}
	right, err := e.right.eval(f)
	if err != nil {
		return nil, err
	}
	switch e.op {
	case "&&", "and", "||", "or":
		return Bool(holds(right)), nil
	case "=":
		return Bool(equal(left, right)), nil
	case "!=":
		return Bool(!equal(left, right)), nil
	case "~":
		return match(left, right)
	case "<":
		return Bool(order(left, right) < 0), nil
	case "<=":
		return Bool(order(left, right) <= 0), nil
	case ">":
		return Bool(order(left, right) > 0), nil
	case ">=":
		return Bool(order(left, right) >= 0), nil
	case "in":
		return Bool(slices.ContainsFunc(items(right), func(v Value) bool { return equal(left, v) })), nil
	case ".":
		return concat(left, right)
	case "->":
		return pickKey(left, right), nil
	}
	return arithmetic(e.op, left, right)
}

// holds is a value as a condition on a row: a property that is set and not false.
func holds(v Value) bool {
	b, ok := truth(v)
	return b || !ok
}

// match carries out ~. A property that a row has not matches nothing.
func match(v, pattern Value) (Value, error) {
	re, err := regexp.CompilePOSIX(pattern.String())
	if err != nil {
		return nil, fail("bad regexp")
	}
	if _, none := v.(Nothing); none {
		return Bool(false), nil
	}
	return Bool(re.MatchString(v.String())), nil
}

// concat joins texts, or a list and what is put behind it.
func concat(left, right Value) (Value, error) {
	if l, ok := left.(List); ok {
		return bounded(append(slices.Clone(l), items(right)...))
	}
	return bounded(Text(left.String() + right.String()))
}

// pickKey carries out ->: by name, or by number.
func pickKey(v, key Value) Value {
	switch v := v.(type) {
	case Row:
		return v.Get(key.String())
	case List:
		if n, ok := number(key); ok && n >= 0 && n < int64(len(v)) {
			return v[n]
		}
	}
	return Nothing{}
}

func arithmetic(op string, left, right Value) (Value, error) {
	a, okA := number(left)
	b, okB := number(right)
	if !okA || !okB {
		return nil, fail("cannot apply %s to %s and %s", op, kind(left), kind(right))
	}
	switch op {
	case "+":
		return Number(a + b), nil
	case "-":
		return Number(a - b), nil
	case "*":
		return Number(a * b), nil
	}
	if b == 0 || a == math.MinInt64 && b == -1 {
		return nil, fail("division by zero")
	}
	if op == "%" {
		return Number(a % b), nil
	}
	return Number(a / b), nil
}

// bounded refuses a value that has grown too large.
func bounded(v Value) (Value, error) {
	switch v := v.(type) {
	case Text:
		if len(v) > maxText {
			return nil, fail("text is longer than %d bytes", maxText)
		}
	case List:
		if len(v) > maxList {
			return nil, fail("array has more than %d items", maxList)
		}
	}
	return v, nil
}
