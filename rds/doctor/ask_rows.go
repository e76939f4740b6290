// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/rds-csi/rds-csi/rds"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

// askSlotTwice adds two disks in one slot.
func askSlotTwice(ctx context.Context, b *bench) error {
	first, err := b.add(ctx, spec{})
	if err != nil {
		return err
	}
	second, err := b.add(ctx, spec{slot: first.spec.slot})
	t, err := refusedOr(err)
	if t != nil {
		b.settle("DuplicateSlot", "Refuse", "%q", t.Message)
		return err
	}
	if err != nil {
		return err
	}
	r, err := b.row(ctx, second)
	if err != nil {
		return err
	}
	if slot := r.Get("slot"); slot != first.spec.slot {
		b.settle("DuplicateSlot", "Rename", "the second got the slot %q", slot)
		return nil
	}
	b.settle("DuplicateSlot", "Accept", "both rows show the slot %q", first.spec.slot)
	return nil
}

// maxSlot is the longest slot that is tried, in bytes.
const maxSlot = 255

// askSlotLength looks for the longest slot that the box keeps whole.
func askSlotLength(ctx context.Context, b *bench) error {
	base := b.name()
	cut := ""
	keeps := func(n int) (bool, error) {
		d, err := b.add(ctx, spec{slot: base + strings.Repeat("x", n-len(base))})
		t, err := refusedOr(err)
		if t != nil || err != nil {
			return false, err
		}
		r, err := b.row(ctx, d)
		if err != nil {
			return false, err
		}
		if got := r.Get("slot"); got != d.spec.slot {
			cut = fmt.Sprintf("; a longer one is cut off, to %d bytes", len(got))
		}
		return cut == "" || r.Get("slot") == d.spec.slot, b.remove(ctx, d)
	}
	if ok, err := keeps(slotLimit); err != nil || !ok {
		if err == nil {
			err = fmt.Errorf("a slot of %d bytes, which the driver needs, is refused", slotLimit)
		}
		return err
	}
	longest, err := bisect(slotLimit, []int{33, 40, maxSlot}, keeps)
	switch {
	case err != nil:
		return err
	case longest == maxSlot:
		b.settle("SlotLimit", "-1", "one of %d bytes is kept, longer ones were not tried", maxSlot)
	default:
		b.settle("SlotLimit", strconv.Itoa(longest), "one of %d bytes is kept, one of %d is not%s", longest, longest+1, cut)
	}
	return nil
}

// bisect returns the greatest n up to the last of steps for which ok holds, as it does for from. The steps
// come first, since they are what people ask about.
func bisect(from int, steps []int, ok func(int) (bool, error)) (int, error) {
	low, high := from, steps[len(steps)-1]+1 // low holds, high does not
	for _, n := range steps {
		held, err := ok(n)
		if err != nil {
			return 0, err
		}
		if !held {
			high = n
			break
		}
		low = n
	}
	for high-low > 1 {
		mid := low + (high-low)/2
		held, err := ok(mid)
		if err != nil {
			return 0, err
		}
		if held {
			low = mid
		} else {
			high = mid
		}
	}
	return low, nil
}

// maxComment is the longest comment that is tried, in bytes, and ledgerLimit what the driver needs.
const (
	maxComment  = 1024
	ledgerLimit = 255
)

// askCommentLength looks for the longest comment that the box keeps.
func askCommentLength(ctx context.Context, b *bench) error {
	d, err := b.add(ctx, spec{comment: "/"})
	if err != nil {
		return err
	}
	mark := markOf(b.run) + "/"
	var said *routeros.Trap
	cutTo := 0
	keeps := func(n int) (bool, error) {
		comment := mark + strings.Repeat("x", n-len(mark))
		err := b.set(ctx, d, "comment="+comment)
		t, err := refusedOr(err)
		if t != nil {
			said = t
			return false, err
		}
		if err != nil {
			return false, err
		}
		r, err := b.row(ctx, d)
		if err != nil {
			return false, err
		}
		got := r.Get("comment")
		if got != comment {
			cutTo = len(got)
		}
		return got == comment, nil
	}
	longest, err := bisect(len(mark), []int{ledgerLimit, 256, maxComment}, keeps)
	if err != nil {
		return err
	}
	enough := ""
	if longest < ledgerLimit {
		enough = fmt.Sprintf("; the driver needs %d for two nodes with the longest names", ledgerLimit)
	}
	switch {
	case longest == maxComment:
		b.settle("CommentLimit", "0", "one of %d bytes is kept whole, longer ones were not tried", maxComment)
		b.moot("CutComment", "no comment was too long")
	case cutTo > 0:
		b.settle("CommentLimit", strconv.Itoa(longest), "one of %d bytes is kept whole%s", longest, enough)
		b.settle("CutComment", "true", "one of %d bytes became one of %d without a word", longest+1, cutTo)
	default:
		b.settle("CommentLimit", strconv.Itoa(longest), "one of %d bytes is kept whole%s", longest, enough)
		b.settle("CutComment", "false", "one of %d bytes is refused: %q", longest+1, said.Message)
	}
	return nil
}

// askHidden looks at a row whose export is off.
func askHidden(ctx context.Context, b *bench) error {
	d, err := b.add(ctx, spec{export: true})
	if err != nil {
		return err
	}
	if err := b.set(ctx, d, "nvme-tcp-export=no"); err != nil {
		return err
	}
	r, err := b.row(ctx, d)
	if err != nil {
		return err
	}
	nqn, port := r.Get("nvme-tcp-server-nqn"), r.Get("nvme-tcp-server-port")
	seen := fmt.Sprintf("with the export off the row shows NQN %q and port %q", nqn, port)
	b.settleBool("HideExport", nqn != d.spec.nqn || port == "", seen, seen)
	return nil
}

// orderRounds and orderBatch are how often, and how many, commands are sent together.
const (
	orderRounds = 40
	orderBatch  = 12
)

// askOrder sends writes of one row together over the API and looks whether the last one stands.
func askOrder(ctx context.Context, b *bench) error {
	cfg := b.settings(rds.API)
	if cfg == nil {
		return &moot{"the API is not what the flags configure, and SSH has one command at a time"}
	}
	s, err := dial(ctx, *cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	d, err := b.add(ctx, spec{comment: "/"})
	if err != nil {
		return err
	}
	for round := range orderRounds {
		last, got, err := b.together(ctx, s, d, round)
		if err != nil {
			return err
		}
		if got != last {
			b.settle("Unordered", "true", "of %d writes sent together %q stands and not the last, %q", orderBatch, got, last)
			return nil
		}
	}
	b.settle("Unordered", "false", "%d times %d writes sent together, and always the last one stands", orderRounds, orderBatch)
	return nil
}

// together writes the comment of a disk many times, and returns what was written last, and what stands.
func (b *bench) together(ctx context.Context, s Session, d disk, round int) (last, stands string, err error) {
	if err := b.own(ctx, d); err != nil {
		return "", "", err
	}
	commands := make([]Command, orderBatch)
	for i := range commands {
		last = fmt.Sprintf("%s/r%dc%d", markOf(b.run), round, i)
		commands[i] = Command{Menu: "/disk", Verb: Set, Item: d.id, Mark: markOf(b.run), With: properties([]string{"comment=" + last})}
	}
	for _, o := range s.Do(ctx, commands...) {
		if o.Err != nil {
			return "", "", o.Err
		}
	}
	r, err := b.row(ctx, d)
	return last, r.Get("comment"), err
}

// askPassword exports a disk with a password and connects without.
func askPassword(ctx context.Context, b *bench) error {
	d, err := b.exported(ctx)
	if err != nil {
		return err
	}
	err = b.set(ctx, d, "nvme-tcp-server-password=scratch-"+tagOf(b.run))
	t, err := refusedOr(err)
	if t != nil {
		b.tell("a password is refused: %q", t.Message)
		return err
	}
	if err != nil {
		return err
	}
	if _, err := b.connect(ctx, b.target(d, 1)); err != nil {
		b.tell("a host without the password does not get in: %v", err)
		return nil
	}
	b.tell("a host without the password gets in")
	return nil
}
