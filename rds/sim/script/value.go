// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// A Value is what an expression gives: Nothing, Text, Number, Bool, List or Row. String is what :put
// writes of it.
type Value interface{ String() string }

// Nothing is the value of what is not there.
type Nothing struct{}

// Text is a string.
type Text string

// Number is a whole number.
type Number int64

// Bool is a truth value.
type Bool bool

// List is an array.
type List []Value

// A Row is an array with names: what print as-value gives for an item.
type Row []Field

// A Field is a property of a row.
type Field struct {
	Name  string
	Value Value
}

// String returns "".
func (Nothing) String() string { return "" }

// String returns the text itself.
func (t Text) String() string { return string(t) }

// String returns decimal digits.
func (n Number) String() string { return strconv.FormatInt(int64(n), 10) }

// String returns "true" or "false".
func (b Bool) String() string { return strconv.FormatBool(bool(b)) }

// String returns the items with semicolons in between.
func (l List) String() string {
	items := make([]string, len(l))
	for i, v := range l {
		items[i] = v.String()
	}
	return strings.Join(items, ";")
}

// String returns name=value with semicolons in between.
func (r Row) String() string {
	items := make([]string, len(r))
	for i, f := range r {
		items[i] = f.Name + "=" + f.Value.String()
	}
	return strings.Join(items, ";")
}

// Get returns the value of a property, or Nothing.
func (r Row) Get(name string) Value {
	for _, f := range r {
		if f.Name == name {
			return f.Value
		}
	}
	return Nothing{}
}

// kind is what :typeof says.
func kind(v Value) string {
	switch v.(type) {
	case Text:
		return "str"
	case Number:
		return "num"
	case Bool:
		return "bool"
	case List, Row:
		return "array"
	}
	return "nothing"
}

// truth reads a value as a condition.
func truth(v Value) (value, ok bool) {
	switch v := v.(type) {
	case Bool:
		return bool(v), true
	case Nothing:
		return false, true
	case Text:
		switch v {
		case "true", "yes":
			return true, true
		case "false", "no", "":
			return false, true
		}
	}
	return false, false
}

// number reads a value as a number.
func number(v Value) (int64, bool) {
	switch v := v.(type) {
	case Number:
		return int64(v), true
	case Text:
		n, err := strconv.ParseInt(string(v), 10, 64)
		return n, err == nil
	}
	return 0, false
}

// equal compares two values by what they would be written as; a truth value is also equal to how the
// console writes it.
func equal(a, b Value) bool {
	_, boolA := a.(Bool)
	_, boolB := b.(Bool)
	if boolA != boolB {
		x, okA := truth(a)
		y, okB := truth(b)
		return okA && okB && x == y && a != Value(Nothing{}) && b != Value(Nothing{})
	}
	return a.String() == b.String()
}

// order compares two values as numbers where both are, else as text.
func order(a, b Value) int {
	x, okA := number(a)
	y, okB := number(b)
	if okA && okB {
		return cmp.Compare(x, y)
	}
	return cmp.Compare(a.String(), b.String())
}

// items returns what :foreach goes through.
func items(v Value) []Value {
	switch v := v.(type) {
	case Nothing:
		return nil
	case List:
		return slices.Clone(v)
	case Row:
		list := make([]Value, len(v))
		for i, f := range v {
			list[i] = f.Value
		}
		return list
	}
	return []Value{v}
}

// length is what :len says.
func length(v Value) int {
	switch v := v.(type) {
	case List:
		return len(v)
	case Row:
		return len(v)
	}
	return len(v.String())
}
