// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/rds-csi/rds-csi/actors"
)

// wordForm is what may stand in a value that goes to the box. It holds the ledger's alphabet.
var wordForm = regexp.MustCompile(`^[A-Za-z0-9._:/-]+$`)

// maxNQN is the longest NQN in bytes (NVMe Base 2.0, 4.5).
const maxNQN = 223

func checkNQN(what, nqn string) error {
	if len(nqn) > maxNQN || !strings.HasPrefix(nqn, "nqn.") || !wordForm.MatchString(nqn) {
		return fmt.Errorf("%s %.240q is not \"nqn.\" and up to %d bytes of letters, digits, '.', '_', ':', '/' and '-': %w", what, nqn, maxNQN, actors.ErrInvalid)
	}
	return nil
}

// Write changes a volume's row: one set per row of w, the first two sent together on one connection and
// a third once both are acknowledged. A nil error means that the box acknowledged each, or refused one of
// the others than the first although the row shows it.
// ErrUnavailable: nothing was changed, the box is away or the row shows a later write than this one.
// ErrUnresolved: sent, and what it did or will do is not known. ErrNotFound: the row is gone.
// ErrPrecondition: the row is another cluster's or damaged. Any other kind: the box refused, and a
// read-back showed the row unchanged.
func (b *Box) Write(ctx context.Context, w actors.Write) error {
	if err := b.checkWrite(w); err != nil {
		return fmt.Errorf("write volume %s: %w", w.Volume, err)
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.CommandTimeout)
	defer cancel()
	if _, err := again(ctx, func() (none, error) { return none{}, b.write(ctx, w) }); err != nil {
		return fmt.Errorf("write volume %s: %w", w.Volume, err)
	}
	return nil
}

func (b *Box) checkWrite(w actors.Write) error {
	if err := w.Volume.Check(); err != nil {
		return err
	}
	if n := len(w.Rows); n < 1 || n > 3 {
		return fmt.Errorf("%d rows to write, 1 to 3 are possible: %w", n, actors.ErrInvalid)
	}
	for _, r := range w.Rows {
		if err := checkNQN("subsystem NQN", r.NQN); err != nil {
			return err
		}
		if r.AllowHost != "" {
			if err := checkNQN("allowed host", r.AllowHost); err != nil {
				return err
			}
		}
		if r.Ledger.Cluster != b.cfg.Cluster {
			return fmt.Errorf("ledger of cluster %.32q, this is %s: %w", r.Ledger.Cluster, b.cfg.Cluster, actors.ErrInvalid)
		}
		if _, _, err := actors.ParseLedger(r.Ledger.String()); err != nil {
			return fmt.Errorf("ledger that could not be read back: %w: %w", err, actors.ErrInvalid)
		}
	}
	return nil
}

func (b *Box) write(ctx context.Context, w actors.Write) error {
	cmd := command{kind: KindGrant, volume: w.Volume}
	if w.Revoke {
		cmd.kind, cmd.class = KindRevoke, urgent
	}
	// First, so that a box which is away is not asked for a listing too.
	if err := b.sessions.ready(ctx, cmd.class); err != nil {
		return unavailable(err)
	}
	before, snap, err := b.writable(ctx, w)
	if err != nil {
		return err
	}
	cmd.seen = snap
	pair := w
	pair.Rows = w.Rows[:min(len(w.Rows), 2)]
	answer := b.change(ctx, cmd, setRows{before.id, guardOf(before), valuesOf(pair.Rows...)})
	if err := b.written(ctx, pair, before, answer); err != nil || len(w.Rows) < 3 {
		return err
	}
	return b.conclude(ctx, w)
}

func valuesOf(rows ...actors.Row) []rowValues {
	values := make([]rowValues, len(rows))
	for i, r := range rows {
		values[i] = rowValues{r.Export, r.NQN, r.AllowHost, r.Ledger.String()}
	}
	return values
}

// conclude writes the third row of w. That the box has done the first two is known by now, so that no
// failure is a refusal of all of it.
func (b *Box) conclude(ctx context.Context, w actors.Write) error {
	snap, err := b.look(ctx)
	if err != nil {
		return unresolved(fmt.Errorf("two rows were acknowledged, and the read-back failed: %v", err)) //nolint:errorlint // of one kind only
	}
	after, ok := snap.row(w.Volume)
	if !ok || after.err != nil || !after.shows(w.Rows[1]) {
		return unresolved(errors.New("two rows were acknowledged, and the box does not show the second"))
	}
	cmd := command{KindRevoke, w.Volume, urgent, snap}
	if err := b.change(ctx, cmd, setRows{after.id, guardOf(after), valuesOf(w.Rows[2])}).err; err != nil {
		return unresolved(fmt.Errorf("two rows were acknowledged, and writing the third failed: %w", err))
	}
	return nil
}

// writable returns the row to be written, as it is before, and the listing that showed it.
func (b *Box) writable(ctx context.Context, w actors.Write) (row, *snapshot, error) {
	snap, err := b.look(ctx)
	if err != nil {
		return row{}, nil, err
	}
	r, ok, err := b.find(snap, w.Volume)
	switch {
	case err != nil:
		return row{}, nil, err
	case !ok:
		return row{}, nil, fmt.Errorf("the box has no disk for it: %w", actors.ErrNotFound)
	case r.err != nil:
		return row{}, nil, r.err
	case !r.ours:
		return r, snap, nil // the older driver's; whether to take it over is decided elsewhere
	}
	if w.From != "" && r.ledger.Cluster == w.From {
		if r.ledger.Gen != w.Guard {
			return row{}, nil, fmt.Errorf("disk %q shows write %d of cluster %s, taken over was %d: %w", r.slot, r.ledger.Gen, w.From, w.Guard, actors.ErrUnavailable)
		}
		return r, snap, nil
	}
	if err := b.sameCluster(r); err != nil {
		return row{}, nil, err
	}
	first := w.Rows[0].Ledger
	if r.ledger.Gen > first.Gen || (r.ledger.Gen == first.Gen && r.comment != first.String()) {
		return row{}, nil, fmt.Errorf("disk %q shows write %d, this is %d and was overtaken: %w", r.slot, r.ledger.Gen, first.Gen, actors.ErrUnavailable)
	}
	return r, snap, nil
}

// sameCluster refuses a row that is not ours to touch.
func (b *Box) sameCluster(r row) error {
	switch {
	case r.err != nil:
		return r.err
	case !r.ours:
		return fmt.Errorf("disk %q has no ledger in its comment, adopt it first: %w", r.slot, actors.ErrPrecondition)
	case r.ledger.Cluster != b.cfg.Cluster:
		return fmt.Errorf("disk %q belongs to cluster %s, this is %s: %w", r.slot, r.ledger.Cluster, b.cfg.Cluster, actors.ErrPrecondition)
	}
	return nil
}

// written judges the answers to a write, and where they do not tell, the row.
func (b *Box) written(ctx context.Context, w actors.Write, before row, a answer) error {
	last := a.err
	earlier := error(nil) // the answer to the first of two
	if len(w.Rows) > 1 {
		earlier = a.first
	}
	switch {
	case fateOf(earlier) == unsent || fateOf(last) == unsent:
		// They leave together or not at all.
		return unavailable(last)
	case fateOf(earlier) == unanswered || fateOf(last) == unanswered:
		return unresolved(fmt.Errorf("%w", firstOf(earlier, last)))
	case isStale(earlier) || isStale(last):
		// The guard is before both, so neither was done.
		return unavailable(firstOf(earlier, last))
	case earlier == nil && last == nil:
		return b.inOrder(ctx, w, before)
	}
	answer := firstOf(earlier, last)
	snap, err := b.look(ctx)
	if err != nil {
		return unresolved(fmt.Errorf("%w, and the read-back failed: %v", answer, err)) //nolint:errorlint // of one kind only
	}
	after, ok := snap.row(w.Volume)
	switch {
	case !ok:
		_, _, err := b.find(snap, w.Volume)
		if err != nil {
			return unresolved(fmt.Errorf("%w, and the row cannot be found: %v", answer, err)) //nolint:errorlint // of one kind only
		}
		return fmt.Errorf("its disk was removed: %w: %w", answer, actors.ErrNotFound)
	case earlier == nil && after.err == nil && after.shows(w.Rows[len(w.Rows)-1]):
		return nil
	case after.id == before.id && after.same(before):
		return refusal(answer)
	}
	return unresolved(fmt.Errorf("%w, and disk %q shows neither what was nor what was asked for", answer, after.slot))
}

// inOrder judges a write that was acknowledged, and reads it back where it has two rows. A box may carry
// out the commands of one connection in another order than they were sent in: the export would stay off
// then for those who keep their grant. The last row is written once more where the first came last.
func (b *Box) inOrder(ctx context.Context, w actors.Write, before row) error {
	if len(w.Rows) == 1 {
		return b.prove(ctx, w, before)
	}
	snap, err := b.look(ctx)
	if err != nil {
		return unresolved(fmt.Errorf("both rows were acknowledged, and the read-back failed: %v", err)) //nolint:errorlint // of one kind only
	}
	after, ok := snap.row(w.Volume)
	if !ok || after.err != nil || !after.shows(w.Rows[0]) {
		return b.prove(ctx, w, before)
	}
	answer := b.change(ctx, command{KindRevoke, w.Volume, urgent, snap}, setRows{after.id, guardOf(after), valuesOf(w.Rows[1])}).err
	if answer != nil {
		return unresolved(fmt.Errorf("the box carried out two writes in another order, and writing the last once more failed: %w", answer))
	}
	return nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// shows reports whether the row is as a write left it, as far as it shows.
func (r row) shows(w actors.Row) bool {
	return r.comment == w.Ledger.String() && r.export == w.Export &&
		(r.hidden() || r.nqn == w.NQN && r.allowHost == w.AllowHost)
}

// hidden reports whether the row may be of a box that does not show the properties of an export that is
// off.
func (r row) hidden() bool { return !r.export && r.nqn == "" && r.port == 0 && r.allowHost == "" }

// same reports whether nothing that a write changes has changed.
func (r row) same(old row) bool {
	return r.comment == old.comment && r.export == old.export && r.nqn == old.nqn && r.allowHost == old.allowHost
}
