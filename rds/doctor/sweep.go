// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/rds-csi/rds-csi/rds/console"
)

// sweepTimeout bounds the removal of what a question has made, also where the context has ended.
const sweepTimeout = time.Minute

// sweep removes all that this run has made, and returns what is left, with the reason. A session that
// failed is replaced by another.
func (b *bench) sweep(ctx context.Context) (left []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sweepTimeout)
	defer cancel()
	b.closeHosts()
	files, dirs := b.files, b.dirs
	left = b.wipeSurely(ctx)
	if b.late && len(left) == 0 {
		b.late = false
		b.report.check("answers", Warn, "a command got no answer during "+b.question, "look whether the box or the network is overloaded; what comes very late the next run finds")
		if pause(ctx, b.Patience) == nil {
			b.files, b.dirs = files, dirs
			left = b.wipeSurely(ctx)
		}
	}
	return left
}

// wipeSurely is wipe, on another session where the one at hand has failed.
func (b *bench) wipeSurely(ctx context.Context) []string {
	left, err := b.wipe(ctx)
	if err == nil || refusal(err) != nil {
		return left
	}
	b.session.Close()
	s, dialled := dial(ctx, b.Box)
	if dialled != nil {
		return append(left, fmt.Sprintf("what has %q in its name: %v", tagOf(b.run), errors.Join(err, dialled)))
	}
	b.session = s
	left, _ = b.wipe(ctx) // what fails is in left
	return left
}

// wipe is sweep on the session at hand. The error is the last one.
func (b *bench) wipe(ctx context.Context) (left []string, last error) {
	tag := tagOf(b.run)
	rows, err := b.session.Print(ctx, "/disk", rowProperties...)
	if err != nil {
		return []string{fmt.Sprintf("rows and files with %q in their names: %v", tag, err)}, err
	}
	keep := map[string]bool{} // files of rows that stay
	for _, s := range scratchRows(rows, b.Box.VolumePaths) {
		if s.tag != tag {
			continue
		}
		if err := b.drop(ctx, s); err != nil {
			left, last = append(left, fmt.Sprintf("disk %q (%s) with file %s: %v", s.slot, s.id, s.file, err)), err
			keep[s.file] = true
			continue
		}
		if !slices.Contains(b.files, s.file) {
			b.files = append(b.files, s.file)
		}
	}
	var files, dirs []string
	for _, f := range b.files {
		if keep[f] {
			files = append(files, f)
		} else if _, err := b.removeFile(ctx, f); err != nil {
			left, last = append(left, fmt.Sprintf("file %s: %v", f, err)), err
			files = append(files, f)
		}
	}
	for _, d := range b.dirs {
		if _, err := b.removeFile(ctx, d); err != nil {
			left, last = append(left, fmt.Sprintf("directory %s: %v", d, err)), err
			dirs = append(dirs, d)
		}
	}
	b.files, b.dirs = files, dirs
	return left, last
}

// drop removes the row of a scratch disk.
func (b *bench) drop(ctx context.Context, s scratchRow) error {
	if err := b.same(ctx, s); err != nil {
		return err
	}
	off := Command{Menu: "/disk", Verb: Set, Item: s.id, Mark: s.mark, With: []console.Property{{Name: "nvme-tcp-export", Value: "no"}}}
	if o := b.session.Do(ctx, off)[0]; o.Err != nil {
		return o.Err
	}
	if err := b.same(ctx, s); err != nil {
		return err
	}
	return b.session.Do(ctx, Command{Menu: "/disk", Verb: Remove, Item: s.id, Mark: s.mark})[0].Err
}

// same reports an error unless a row is the one that was seen.
func (b *bench) same(ctx context.Context, s scratchRow) error {
	r, err := b.row(ctx, disk{id: s.id})
	if err != nil {
		return err
	}
	if now, ok := scratchOf(r, b.Box.VolumePaths); !ok || now != s {
		return fmt.Errorf("row %s is another one now, and is left alone", s.id)
	}
	return nil
}

// leftovers offers to remove what earlier runs have left. It returns what is still there.
func (b *bench) leftovers(ctx context.Context) (left []string, err error) {
	rows, err := b.session.Print(ctx, "/disk", rowProperties...)
	if err != nil {
		return nil, fmt.Errorf("look for what earlier runs have left: %w", err)
	}
	found := scratchRows(rows, b.Box.VolumePaths)
	if len(found) == 0 {
		return nil, nil
	}
	plan := fmt.Sprintf("An earlier write test has left %d scratch disks. Remove them, with their files?\n", len(found))
	for _, s := range found {
		plan += fmt.Sprintf("  %s %s %s\n", s.id, s.slot, s.file)
	}
	if !b.Confirm(plan) {
		for _, s := range found {
			left = append(left, fmt.Sprintf("disk %q (%s) with file %s, of an earlier run", s.slot, s.id, s.file))
		}
		return left, nil
	}
	for _, s := range found {
		if err := b.discard(ctx, s); err != nil {
			left = append(left, fmt.Sprintf("disk %q (%s) with file %s, of an earlier run: %v", s.slot, s.id, s.file, err))
		}
	}
	return left, nil
}

// discard removes a disk of an earlier run, its file, and the directory that was made for it.
func (b *bench) discard(ctx context.Context, s scratchRow) error {
	if err := b.drop(ctx, s); err != nil {
		return err
	}
	other := *b
	if err := other.run.UnmarshalText([]byte(s.mark[len(markPrefix):])); err != nil {
		return fmt.Errorf("read the mark: %w", err)
	}
	if _, err := other.removeFile(ctx, s.file); err != nil {
		return err
	}
	if dir := path.Dir(s.file); scratchDirectory(dir, s.tag, b.Box.VolumePaths) {
		_, err := other.removeFile(ctx, dir)
		return err
	}
	return nil
}
