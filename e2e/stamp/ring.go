// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package stamp

import (
	"errors"
	"fmt"
)

// A Ring is where a writer writes. Write n goes to slot n modulo Slots.
type Ring struct {
	Writer string `json:"writer"`
	Base   int64  `json:"base"`  // where on the disk the ring begins, in bytes
	Slots  int    `json:"slots"` // how many writes there is room for
	Parts  int    `json:"parts"` // of each write
}

// maxRing bounds the length of a ring in bytes.
const maxRing = 1 << 30

// Check reports whether the ring can be written.
func (r Ring) Check() error {
	switch {
	case r.Writer == "" || len(r.Writer) > MaxWriter:
		return fmt.Errorf("writer %.64q is not a name of 1 to %d bytes", r.Writer, MaxWriter)
	case r.Base < 0 || r.Base%Size != 0:
		return fmt.Errorf("base %d is not a multiple of %d", r.Base, Size)
	case r.Slots < 1 || r.Parts < 1 || r.Slots > maxRing || r.Parts > maxRing || r.Slots*r.Parts > maxRing/Size:
		return fmt.Errorf("%d slots of %d parts are no ring", r.Slots, r.Parts)
	}
	return nil
}

// Write is the length of a write in bytes.
func (r Ring) Write() int { return r.Parts * Size }

// Length is the length of the ring in bytes.
func (r Ring) Length() int { return r.Slots * r.Write() }

// Offset is where on the disk a write goes, in bytes.
func (r Ring) Offset(number uint64) int64 { return r.Base + int64(r.slot(number)*r.Write()) }

func (r Ring) slot(number uint64) int { return int(number % uint64(r.Slots)) } //nolint:gosec // smaller than Slots

// Fill makes the bytes of a write.
func (r Ring) Fill(p []byte, number uint64) {
	for part := range r.Parts {
		Put(p[part*Size:(part+1)*Size], Stamp{Writer: r.Writer, Number: number, Part: part})
	}
}

// Verify compares the bytes of a ring with what its writer knows: that it began so many writes and that so many
// were acknowledged. Only a write that was begun and not acknowledged may be there or not, or in parts. It tells
// of each slot that is wrong.
func (r Ring) Verify(p []byte, begun, acked uint64) error {
	if err := r.Check(); err != nil {
		return err
	}
	if len(p) != r.Length() {
		return fmt.Errorf("%d bytes are not a ring of %d", len(p), r.Length())
	}
	var errs []error
	for slot := range r.Slots {
		if err := r.verify(p[slot*r.Write():(slot+1)*r.Write()], slot, begun, acked); err != nil {
			errs = append(errs, fmt.Errorf("%s, slot %d: %w", r.Writer, slot, err))
		}
	}
	return errors.Join(errs...)
}

func (r Ring) verify(p []byte, slot int, begun, acked uint64) error {
	newest := r.newest(slot, acked)
	inFlight := r.newest(slot, begun) != newest
	for part := range r.Parts {
		s, err := Read(p[part*Size : (part+1)*Size])
		switch {
		case errors.Is(err, ErrBlank) && newest == 0:
		case errors.Is(err, ErrBlank):
			return fmt.Errorf("part %d: write %d is lost, %w", part, newest, err)
		case err != nil && inFlight:
		case err != nil:
			return fmt.Errorf("part %d of write %d: %w", part, newest, err)
		case s.Writer != r.Writer || s.Part != part || r.slot(s.Number) != slot:
			return fmt.Errorf("part %d is overwritten with part %d of write %d of %s", part, s.Part, s.Number, s.Writer)
		case s.Number < newest:
			return fmt.Errorf("part %d: write %d is lost, there is write %d", part, newest, s.Number)
		case s.Number > begun:
			return fmt.Errorf("part %d is of write %d, and only %d were begun", part, s.Number, begun)
		}
	}
	return nil
}

// VerifyLost is Verify for a writer that was lost after it had been known that so many writes were acknowledged. What
// lies behind that tells itself: a write begins when the one before it was acknowledged.
func (r Ring) VerifyLost(p []byte, acked uint64) error {
	last := acked
	for at := 0; at+Size <= len(p); at += Size {
		if s, err := Read(p[at : at+Size]); err == nil && s.Writer == r.Writer {
			last = max(last, s.Number)
		}
	}
	if last > acked {
		acked = last - 1
	}
	return r.Verify(p, last+1, acked)
}

// newest is the last of the first writes that went to a slot; 0: none did.
func (r Ring) newest(slot int, last uint64) uint64 {
	behind := (last + uint64(r.Slots) - uint64(slot)) % uint64(r.Slots) //nolint:gosec // a slot is smaller than Slots
	if behind >= last {
		return 0
	}
	return last - behind
}
