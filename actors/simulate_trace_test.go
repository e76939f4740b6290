// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import "fmt"

// A simTrace is an FNV-1a hash of what happens. Writing that out for each schedule would cost more than to
// play it.
type simTrace uint64

func (h *simTrace) num(n uint64) {
	for range 8 {
		*h = (*h ^ simTrace(n&0xff)) * 1099511628211
		n >>= 8
	}
}

func (h *simTrace) text(s string) {
	for i := range len(s) {
		*h = (*h ^ simTrace(s[i])) * 1099511628211
	}
}

func (h *simTrace) add(arg any) {
	switch v := arg.(type) {
	case string:
		h.text(v)
	case NodeID:
		h.text(string(v))
	case OpKind:
		h.text(string(v))
	case bool:
		h.num(uint64(count(v)))
	case uint64:
		h.num(v)
	case Verdict:
		h.num(uint64(v))
	case AnnouncementKind:
		h.num(uint64(v)) //nolint:gosec // a constant
	case Ledger:
		h.num(v.Gen)
		h.num(uint64(v.Epoch))  //nolint:gosec // it is only mixed in
		h.num(uint64(v.Bounce)) //nolint:gosec // likewise
		h.text(v.Told)
		for _, g := range v.Grants {
			h.text(string(g.Node))
			h.num(uint64(g.At)) //nolint:gosec // likewise
		}
	case asking:
		h.num(uint64(operationOf(v.ev)[0]))
		switch ev := v.ev.(type) {
		case Publish:
			h.text(string(ev.Node))
		case Unpublish:
			h.text(string(ev.Node))
			h.text(ev.Lost)
		case Exclusive, TakeOver, Observed, Suspected, Outcome, Done, Tick: // are told apart by what they are
		}
	default:
		h.text(fmt.Sprint(v))
	}
}
