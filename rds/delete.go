// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/rds-csi/rds-csi/actors"
)

// Delete removes a volume: its export, its row and its file, and verifies that both are gone. What is
// gone already is no error: after a delete whose answer was lost, the file may be left without a row;
// it is removed from the configured volume paths, under its exact name.
//
// ErrPrecondition: the disk is another cluster's, not the driver's, attached, or outside of the
// configured paths. ErrUnavailable: the box could not be asked, or refused; what was removed so far
// stays removed. ErrUnresolved: an answer was lost. Call again in both cases.
func (b *Box) Delete(ctx context.Context, id actors.VolumeID) error {
	if _, err := again(ctx, func() (none, error) { return none{}, b.delete(ctx, id) }); err != nil {
		return fmt.Errorf("delete volume %.64s: %w", string(id), err)
	}
	return nil
}

func (b *Box) delete(ctx context.Context, id actors.VolumeID) error {
	if err := id.Check(); err != nil {
		return err
	}
	if err := b.sessions.ready(ctx, ordinary); err != nil {
		return unavailable(err)
	}
	snap, err := b.look(ctx)
	if err != nil {
		return err
	}
	r, ok, err := b.find(snap, id)
	switch {
	case err != nil:
		return err
	case ok:
		if err := b.deletable(r); err != nil {
			return err
		}
		return b.remove(ctx, snap, id, r)
	}
	for _, dir := range b.cfg.VolumePaths {
		if err := b.removeFile(ctx, snap, id, filePath(dir, id)); err != nil {
			return err
		}
	}
	_, err = b.verifyGone(ctx, id)
	return err
}

func (b *Box) deletable(r row) error {
	if err := b.sameCluster(r); err != nil {
		return err
	}
	if n := len(r.ledger.Grants); n > 0 {
		return fmt.Errorf("disk %q is attached to node %s, detach it first: %w", r.slot, r.ledger.Grants[n-1].Node, actors.ErrPrecondition)
	}
	if dir := path.Dir(r.path); !slices.Contains(b.cfg.VolumePaths, dir) {
		return fmt.Errorf("disk %q lies in %.200q, which is none of the configured volume paths (--volume-path): %w", r.slot, dir, actors.ErrPrecondition)
	}
	return nil
}

// remove removes a row, which a listing showed, and then its file.
func (b *Box) remove(ctx context.Context, snap *snapshot, id actors.VolumeID, r row) error {
	if r.export {
		// First, so that hosts are gone before their disk is.
		if err := b.finish(ctx, command{kind: KindExportOff, volume: id, seen: snap}, endExport{r.id, guardOf(r)}); err != nil {
			return fmt.Errorf("turn off the export: %w", err)
		}
	}
	if err := b.finish(ctx, command{kind: KindRemove, volume: id, seen: snap}, removeDisk{r.id, guardOf(r)}); err != nil {
		return fmt.Errorf("remove the disk: %w", err)
	}
	// A file that a disk still uses must not go.
	snap, err := b.verifyGone(ctx, id)
	if err != nil {
		return err
	}
	if err := b.removeFile(ctx, snap, id, r.path); err != nil {
		return err
	}
	_, err = b.verifyGone(ctx, id)
	return err
}

// finish carries out a change that may find its work done: "no such item" is a success.
func (b *Box) finish(ctx context.Context, cmd command, c change) error {
	err := b.change(ctx, cmd, c).err
	switch fateOf(err) {
	case acknowledged:
		return nil
	case unsent:
		return unavailable(err)
	case unanswered:
		return unresolved(err)
	}
	if saysMissing(err) {
		return nil
	}
	return unavailable(explain(err)) // a refusal leaves something behind, so it is never final
}

// removeFile removes a file until the box says that there is none of that name. Only "no such item"
// proves it: an acknowledged removal may have been of something that the box goes on to finish. And it
// does only where the pool is there, which snap shows, on a session that is older: on a younger one the
// box may have restarted since, and the pool may still be to come.
func (b *Box) removeFile(ctx context.Context, snap *snapshot, id actors.VolumeID, file string) error {
	name := strings.TrimPrefix(file, "/") // /file knows no leading slash
	for range 3 {
		err := b.change(ctx, command{kind: KindRemoveFile, volume: id, seen: snap}, removeFile{name}).err
		switch f := fateOf(err); {
		case f == unsent:
			return fmt.Errorf("remove file %s: %w", name, unavailable(err))
		case f == unanswered:
			return fmt.Errorf("remove file %s: %w", name, unresolved(err))
		case f == refused && saysMissing(err):
			return nil
		case f == refused:
			return fmt.Errorf("remove file %s: %w", name, unavailable(explain(err)))
		}
	}
	return fmt.Errorf("remove file %s: the box acknowledged it three times and still has it: %w", name, actors.ErrUnresolved)
}

// verifyGone reports an error unless the box shows all of its pools and no row of the volume. While a
// pool is missing, "no such item" proves nothing of a file either.
func (b *Box) verifyGone(ctx context.Context, id actors.VolumeID) (*snapshot, error) {
	snap, err := b.look(ctx)
	if err != nil {
		return nil, fmt.Errorf("verify that it is gone: %w", err)
	}
	r, ok, err := b.find(snap, id)
	switch {
	case err != nil:
		return nil, fmt.Errorf("verify that it is gone: %w", err)
	case ok:
		return nil, fmt.Errorf("the box acknowledged the removal of disk %q and still shows it: %w", r.slot, actors.ErrUnresolved)
	}
	return snap, nil
}
