// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"fmt"
	"strings"

	"github.com/rds-csi/rds-csi/actors"
)

// prove reads back an acknowledged write whose ledger is longer than any that the box was seen to keep:
// how long a comment may be is not documented, and a box that cuts it off would leave a damaged ledger,
// which nobody dares to write any more. In that case the row before is put back, and the error is
// actors.ErrUnresolved. A read-back that fails proves nothing, and is tried again with the next write.
func (b *Box) prove(ctx context.Context, w actors.Write, before row) error {
	last := w.Rows[len(w.Rows)-1]
	comment := last.Ledger.String()
	n := int64(len(comment))
	if n <= b.proven.Load() {
		return nil
	}
	snap, err := b.look(ctx)
	if err != nil {
		return nil //nolint:nilerr // acknowledged
	}
	after, ok := snap.row(w.Volume)
	switch {
	case ok && after.comment == comment:
		b.longest(n)
		return nil
	case !ok || !strings.HasPrefix(comment, after.comment):
		return nil // somebody else has been here since
	}
	restore := setRows{after.id, guardOf(after), []rowValues{{before.export, before.volume().NQN, before.allowHost, before.comment}}}
	kept := len(after.comment)
	if err := b.change(ctx, command{KindRevoke, w.Volume, urgent, snap}, restore).err; err != nil {
		return unresolved(fmt.Errorf("the box keeps %d bytes of a comment, the ledger has %d, and putting the row back failed: %w", kept, n, err))
	}
	return unresolved(fmt.Errorf("the box keeps %d bytes of a comment and the ledger has %d, so the row was put back; use shorter node names", kept, n))
}

// longest raises proven.
func (b *Box) longest(n int64) {
	for {
		old := b.proven.Load()
		if n <= old || b.proven.CompareAndSwap(old, n) {
			return
		}
	}
}
