// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/rds-csi/rds-csi/actors"
)

// other stands for every value that a label does not know.
const other = "other"

// The values of the labels that are called status.
const (
	success = "success"
	failure = "failure"
)

func statusOf(ok bool) string {
	if ok {
		return success
	}
	return failure
}

// oneOf bounds a label to a set of values.
func oneOf(set []string, value string) string {
	if slices.Contains(set, value) {
		return value
	}
	return other
}

// A capped set bounds a label whose values are not known beforehand: it takes the first so many that
// are well formed, and calls the rest "other".
type capped struct {
	room int
	ok   func(byte) bool // the alphabet

	mu   sync.Mutex
	seen map[string]bool
}

const maxLabelValue = 128 // bytes

func newCapped(room int, ok func(byte) bool) *capped {
	return &capped{room: room, ok: ok, seen: make(map[string]bool)}
}

func (c *capped) value(s string) string {
	if s == "" || len(s) > maxLabelValue {
		return other
	}
	for i := range len(s) {
		if !c.ok(s[i]) {
			return other
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.seen[s]:
	case len(c.seen) == c.room:
		return other
	default:
		c.seen[strings.Clone(s)] = true
	}
	return s
}

// isWord is the alphabet of commands: lower-case words, joined by _ or -.
func isWord(b byte) bool {
	return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' || b == '_' || b == '-'
}

// isAddress is the alphabet of a host, with or without a port. It has no "@", so that credentials
// that slipped into an address do not become a label.
func isAddress(b byte) bool {
	return isWord(b) || 'A' <= b && b <= 'Z' || b == '.' || b == ':' || b == '[' || b == ']' || b == '%'
}

// results are the values of the label result of a command that failed. "error" stands for the rest.
var results = []struct {
	kind error
	name string
}{
	{actors.ErrUnresolved, "unresolved"},
	{actors.ErrUnavailable, "unavailable"},
	{actors.ErrInvalid, "invalid"},
	{actors.ErrNotFound, "not_found"},
	{actors.ErrExists, "exists"},
	{actors.ErrPrecondition, "precondition"},
	{actors.ErrOutOfRange, "out_of_range"},
	{actors.ErrFull, "full"},
	{actors.ErrBusy, "busy"},
	{context.Canceled, "canceled"},
	{context.DeadlineExceeded, "canceled"},
}

func resultOf(err error) string {
	if err == nil {
		return success
	}
	for _, result := range results {
		if errors.Is(err, result.kind) {
			return result.name
		}
	}
	return "error"
}
