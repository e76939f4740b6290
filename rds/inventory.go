// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/rds-csi/rds-csi/actors"
)

// An Entry is a volume's row as a person should see it, whosesoever it is.
type Entry struct {
	// Volume is what the driver makes of the row. Of one that it must leave alone little is known.
	Volume actors.Volume
	// Slot and File are the disk's name and its file on the box.
	Slot, File string
	// Damage is why the row is left alone; nil: it is not. It is actors.ErrPrecondition.
	Damage error
}

// Inventory returns the row of every volume that the box shows, with a ledger of this cluster, of another
// or with none, sorted by ID, from a listing that began after the call. missing says which pool of the
// configured volume paths the box does not show, whose rows may be missing with it. err is
// actors.ErrUnavailable.
func (b *Box) Inventory(ctx context.Context) (entries []Entry, missing, err error) {
	snap, err := b.look(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("take the inventory: %w", err)
	}
	for _, id := range slices.Sorted(maps.Keys(snap.volumes)) {
		r := snap.volumes[id]
		entries = append(entries, Entry{Volume: r.volume(), Slot: r.slot, File: r.path, Damage: r.err})
	}
	return entries, b.complete(snap), nil
}
