// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"strconv"
	"strings"
)

// errQuery refuses a query that no item can answer.
var errQuery = &trap{badArgument, "invalid query"}

// A query is the list of query words of a print, without their question marks. Each word works on a
// stack of truth values; an item passes if all that is left on it at the end is true.
type query []string

// checkQuery reports whether the words are a query, by running it on an item without properties:
// what a word takes off the stack does not depend on the item.
func checkQuery(words []string) (query, error) {
	q := query(words)
	_, err := q.match(nil)
	return q, err
}

// match reports whether an item passes.
func (q query) match(item []field) (bool, error) {
	var stack []bool
	for _, word := range q {
		if ops, ok := strings.CutPrefix(word, "#"); ok {
			var err error
			if stack, err = operate(stack, ops); err != nil {
				return false, err
			}
			continue
		}
		stack = append(stack, test(item, word))
	}
	for _, v := range stack {
		if !v {
			return false, nil
		}
	}
	return true, nil
}

// test evaluates a word that is no operation: name, -name, name=x, =name=x, <name=x or >name=x.
func test(item []field, word string) bool {
	if name, ok := strings.CutPrefix(word, "-"); ok {
		_, has := lookup(item, name)
		return !has
	}
	op := byte('=')
	if word != "" && strings.IndexByte("=<>", word[0]) >= 0 {
		op, word = word[0], word[1:]
	}
	name, want, compares := strings.Cut(word, "=")
	value, has := lookup(item, name)
	if !has || !compares {
		return has
	}
	switch op {
	case '<':
		return compare(value, want) < 0
	case '>':
		return compare(value, want) > 0
	}
	return value == want
}

// compare orders two values as numbers where both are, else as text.
func compare(a, b string) int {
	x, errX := strconv.ParseInt(a, 10, 64)
	y, errY := strconv.ParseInt(b, 10, 64)
	if errX == nil && errY == nil {
		return cmp.Compare(x, y)
	}
	return cmp.Compare(a, b)
}

// operate carries out the operations of a ?# word from left to right: ! negates the top, & and |
// join the two on top, a full stop doubles the top, and a number picks the value at that distance
// from the top: before another operation it is pushed, at the end it is all that stays.
func operate(stack []bool, ops string) ([]bool, error) {
	for i := 0; i < len(ops); {
		if ops[i] >= '0' && ops[i] <= '9' {
			var err error
			if stack, i, err = pick(stack, ops, i); err != nil {
				return nil, err
			}
			continue
		}
		n := len(stack)
		switch op := ops[i]; {
		case op == '!' && n >= 1:
			stack[n-1] = !stack[n-1]
		case op == '&' && n >= 2:
			stack = append(stack[:n-2], stack[n-2] && stack[n-1])
		case op == '|' && n >= 2:
			stack = append(stack[:n-2], stack[n-2] || stack[n-1])
		case op == '.' && n >= 1:
			stack = append(stack, stack[n-1])
		default:
			return nil, errQuery
		}
		i++
	}
	return stack, nil
}

// pick carries out the number at ops[from:] and returns where it ends.
func pick(stack []bool, ops string, from int) ([]bool, int, error) {
	end := from
	for end < len(ops) && ops[end] >= '0' && ops[end] <= '9' {
		end++
	}
	at, err := strconv.Atoi(ops[from:end])
	if err != nil || at >= len(stack) {
		return nil, 0, errQuery
	}
	value := stack[len(stack)-1-at]
	if end == len(ops) {
		return []bool{value}, end, nil
	}
	if ops[end] == '.' { // ends the number, and does nothing else
		end++
	}
	return append(stack, value), end, nil
}
