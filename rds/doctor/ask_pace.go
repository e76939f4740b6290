// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"slices"
	"time"
)

// paceRuns is how often each command is timed.
const paceRuns = 15

// askPace times a listing, a write of a row, and the making of a disk.
func askPace(ctx context.Context, b *bench) error {
	d, err := b.add(ctx, spec{comment: "/"})
	if err != nil {
		return err
	}
	list, err := median(paceRuns, func(int) error {
		_, err := b.session.Print(ctx, "/disk", rowProperties...)
		return err
	})
	if err != nil {
		return err
	}
	if err := b.own(ctx, d); err != nil {
		return err
	}
	write, err := median(paceRuns, func(i int) error {
		comment := markOf(b.run) + "/" + string(rune('a'+i))
		return b.do(ctx, Command{Menu: "/disk", Verb: Set, Item: d.id, Mark: markOf(b.run), With: properties([]string{"comment=" + comment})})[0].Err
	})
	if err != nil {
		return err
	}
	login, err := median(3, func(int) error {
		s, err := dial(ctx, b.Box)
		if err == nil {
			s.Close()
		}
		return err
	})
	if err != nil {
		return err
	}
	b.tell("median times: listing of /disk %v, write of a row %v, login %v (Config.ServiceTime of the simulated box)", round(list), round(write), round(login))
	return nil
}

// median times n runs of f.
func median(n int, f func(i int) error) (time.Duration, error) {
	times := make([]time.Duration, n)
	for i := range times {
		begin := time.Now()
		if err := f(i); err != nil {
			return 0, err
		}
		times[i] = time.Since(begin)
	}
	slices.Sort(times)
	return times[n/2], nil
}
