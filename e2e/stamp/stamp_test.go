// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package stamp_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/rds-csi/rds-csi/e2e/stamp"
)

func TestPartsTellWhatTheyAre(t *testing.T) {
	p := make([]byte, stamp.Size)
	if _, err := stamp.Read(p); !errors.Is(err, stamp.ErrBlank) {
		t.Fatal("zeros:", err)
	}
	want := stamp.Stamp{Writer: "node-a", Number: 1 << 40, Part: 3}
	stamp.Put(p, want)
	if got, err := stamp.Read(p); err != nil || got != want {
		t.Fatalf("got %v, %v", got, err)
	}
	for _, at := range []int{0, 8, 24, 512, 2048, stamp.Size - 1} {
		p[at] ^= 1
		if _, err := stamp.Read(p); !errors.Is(err, stamp.ErrTorn) {
			t.Errorf("byte %d changed: %v", at, err)
		}
		p[at] ^= 1
	}
}

// written is a ring after the writes up to a number.
func written(r stamp.Ring, last uint64) []byte {
	p := make([]byte, r.Length())
	for n := uint64(1); n <= last; n++ {
		r.Fill(p[r.Offset(n)-r.Base:], n)
	}
	return p
}

func TestRingsTellWhatIsWrong(t *testing.T) {
	ring := stamp.Ring{Writer: "vm", Base: 8 * stamp.Size, Slots: 4, Parts: 2}
	other := stamp.Ring{Writer: "foe", Slots: 4, Parts: 2}
	slot := func(n uint64) int64 { return ring.Offset(n) - ring.Base }
	for name, tt := range map[string]struct {
		last, begun, acked uint64
		harm               func(p []byte)
		want               string // empty: nothing is wrong
	}{
		"nothing was written":            {},
		"the first round":                {last: 2, begun: 2, acked: 2},
		"many rounds":                    {last: 11, begun: 11, acked: 11},
		"one in flight that arrived":     {last: 6, begun: 6, acked: 5},
		"one in flight that did not":     {last: 5, begun: 6, acked: 5},
		"the first in flight":            {last: 0, begun: 1, acked: 0},
		"one in flight, in parts":        {last: 6, begun: 7, acked: 6, harm: func(p []byte) { stamp.Put(p[slot(7):], stamp.Stamp{Writer: "vm", Number: 7}) }},
		"one in flight, torn":            {last: 7, begun: 7, acked: 6, harm: func(p []byte) { p[slot(7)+100] ^= 1 }},
		"the last one is lost":           {last: 5, begun: 6, acked: 6, want: "write 6 is lost, there is write 2"},
		"one of the first round is lost": {last: 2, begun: 3, acked: 3, want: "write 3 is lost, nothing was written"},
		"half of one is lost":            {last: 6, begun: 7, acked: 7, harm: func(p []byte) { stamp.Put(p[slot(7):], stamp.Stamp{Writer: "vm", Number: 7}) }, want: "part 1: write 7 is lost, there is write 3"},
		"one is torn":                    {last: 7, begun: 8, acked: 7, harm: func(p []byte) { p[slot(6)+100] ^= 1 }, want: "part 0 of write 6: the part is torn"},
		"one is another's":               {last: 7, begun: 7, acked: 7, harm: func(p []byte) { other.Fill(p[slot(6):], 6) }, want: "overwritten with part 0 of write 6 of foe"},
		"one was never begun":            {last: 9, begun: 8, acked: 8, want: "is of write 9, and only 8 were begun"},
	} {
		t.Run(name, func(t *testing.T) {
			p := written(ring, tt.last)
			if tt.harm != nil {
				tt.harm(p)
			}
			err := ring.Verify(p, tt.begun, tt.acked)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestARingOfALostWriterTellsHowFarItCame(t *testing.T) {
	ring := stamp.Ring{Writer: "vm", Slots: 4, Parts: 2}
	for name, tt := range map[string]struct {
		last, acked uint64
		harm        func(p []byte)
		want        string
	}{
		"it wrote no more":          {last: 6, acked: 6},
		"it went on":                {last: 11, acked: 2},
		"it was lost in a write":    {last: 6, acked: 5, harm: func(p []byte) { p[ring.Offset(7)] ^= 1 }},
		"half of a write is there":  {last: 6, acked: 5, harm: func(p []byte) { stamp.Put(p[ring.Offset(7):], stamp.Stamp{Writer: "vm", Number: 7}) }},
		"what it knew is lost":      {last: 5, acked: 6, want: "write 6 is lost"},
		"one before the last":       {last: 11, acked: 2, harm: func(p []byte) { clear(p[ring.Offset(10):][:ring.Write()]) }, want: "write 10 is lost"},
		"a torn one before another": {last: 11, acked: 2, harm: func(p []byte) { p[ring.Offset(9)] ^= 1 }, want: "part 0 of write 9: the part is torn"},
	} {
		t.Run(name, func(t *testing.T) {
			p := written(ring, tt.last)
			if tt.harm != nil {
				tt.harm(p)
			}
			err := ring.VerifyLost(p, tt.acked)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestRingsAreChecked(t *testing.T) {
	for _, r := range []stamp.Ring{
		{Slots: 1, Parts: 1},
		{Writer: strings.Repeat("x", stamp.MaxWriter+1), Slots: 1, Parts: 1},
		{Writer: "vm", Parts: 1},
		{Writer: "vm", Slots: 1},
		{Writer: "vm", Slots: 1 << 29, Parts: 1 << 29},
		{Writer: "vm", Base: 512, Slots: 1, Parts: 1},
	} {
		if r.Check() == nil {
			t.Errorf("%+v passes", r)
		}
	}
}
