// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// An object is a part of an unstructured one. What is absent, and what is of another type than expected,
// reads as the zero value: an API that changes makes an answer uncertain, never a panic.
type object map[string]any

// at returns what lies at a path of keys.
func (o object) at(path ...string) object {
	for _, key := range path {
		next, ok := o[key].(map[string]any)
		if !ok {
			return nil
		}
		o = next
	}
	return o
}

func (o object) text(key string) string {
	s, ok := o[key].(string)
	if !ok {
		return ""
	}
	return s
}

// flag returns whether a key is true, and whether it is there.
func (o object) flag(key string) (value, set bool) {
	value, set = o[key].(bool)
	return value, set
}

func (o object) is(key string) bool {
	value, _ := o.flag(key)
	return value
}

// number returns a whole number, as both decoders of JSON make them.
func (o object) number(key string) (n int64, ok bool) {
	switch v := o[key].(type) {
	case int64:
		return v, true
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v), true
		}
	}
	return 0, false
}

// when returns a time, and zero where there is none.
func (o object) when(key string) time.Time {
	t, err := time.Parse(time.RFC3339, o.text(key))
	if err != nil {
		return time.Time{}
	}
	return t.UTC() // so that equal times are equal
}

// list returns those elements of a list that are objects.
func (o object) list(key string) []object {
	items, ok := o[key].([]any)
	if !ok {
		return nil
	}
	objects := make([]object, 0, len(items))
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			objects = append(objects, m)
		}
	}
	return objects
}

// maxReason bounds what is repeated of KubeVirt's own words, in bytes.
const maxReason = 256

// clip makes words of others fit for an event or a log: one line, valid, bounded.
func clip(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) <= maxReason {
		return s
	}
	end := maxReason
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
