// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rds-csi/rds-csi/actors"
)

// Expand makes a volume at least size bytes large, a multiple of Sector, and returns it as the box
// shows it. One that is as large already, or larger, is returned as it is: nothing shrinks.
//
// ErrInvalid: size is malformed. ErrNotFound: the box has no such volume. ErrPrecondition: it is another
// cluster's, or not the driver's. ErrFull: the pool has no room. ErrOutOfRange: the box set another
// size, or the pool could never hold it. All of these and ErrUnavailable: the volume has at least the size that it had.
// ErrUnresolved: an answer was lost.
func (b *Box) Expand(ctx context.Context, id actors.VolumeID, size int64) (actors.Volume, error) {
	v, err := again(ctx, func() (actors.Volume, error) { return b.expand(ctx, id, size) })
	if err != nil {
		return actors.Volume{}, fmt.Errorf("expand volume %.64s to %d bytes: %w", string(id), size, err)
	}
	return v, nil
}

func (b *Box) expand(ctx context.Context, id actors.VolumeID, size int64) (actors.Volume, error) {
	if err := errors.Join(id.Check(), checkSize(size)); err != nil {
		return actors.Volume{}, err
	}
	if err := b.sessions.ready(ctx, ordinary); err != nil {
		return actors.Volume{}, unavailable(err)
	}
	snap, err := b.look(ctx)
	if err != nil {
		return actors.Volume{}, err
	}
	r, ok, err := b.find(snap, id)
	if err != nil {
		return actors.Volume{}, err
	}
	if !ok {
		return actors.Volume{}, fmt.Errorf("the box has no disk for it: %w", actors.ErrNotFound)
	}
	if err := b.sameCluster(r); err != nil {
		return actors.Volume{}, err
	}
	if r.size >= size {
		return r.volume(), nil
	}
	if err := snap.couldHold(r, size); err != nil {
		return actors.Volume{}, err
	}
	if err := b.expands.check(id, size, time.Now()); err != nil {
		return actors.Volume{}, err
	}
	answer := b.change(ctx, command{kind: KindExpand, volume: id, seen: snap}, setSize{r.id, guardOf(r), size}).err
	if fateOf(answer) == unanswered {
		b.expands.lose(id, size, time.Now())
	}
	return b.expanded(ctx, snap, r, size, answer)
}

// couldHold reports actors.ErrOutOfRange for a size that a volume's pool is too small for, however empty it
// is: a box that allocates late might agree to it. What the pool has free is for the box to judge.
func (s *snapshot) couldHold(r row, size int64) error {
	p, err := s.poolOf(r.path)
	if err != nil {
		return err
	}
	c, err := p.capacity()
	if err != nil {
		return err
	}
	if size > c.Total {
		return fmt.Errorf("the pool has %d bytes in all: ask for less: %w", c.Total, actors.ErrOutOfRange)
	}
	return nil
}

// expanded reads back what an expand did, whatever the box answered. seen is the listing before it.
func (b *Box) expanded(ctx context.Context, seen *snapshot, before row, size int64, answer error) (actors.Volume, error) {
	switch fateOf(answer) {
	case unsent:
		return actors.Volume{}, unavailable(answer)
	case unanswered:
		return actors.Volume{}, unresolved(answer)
	}
	if isStale(answer) {
		return actors.Volume{}, unavailable(answer)
	}
	id := before.holds
	snap, err := b.look(ctx)
	if err != nil {
		return actors.Volume{}, unresolved(fmt.Errorf("%w, and the read-back failed: %v", orAcknowledged(answer), err)) //nolint:errorlint // one kind only
	}
	r, ok := snap.row(id)
	switch {
	case !ok || r.err != nil:
		return actors.Volume{}, unresolved(fmt.Errorf("%w, and the disk cannot be read any more", orAcknowledged(answer)))
	case r.size == size:
		return r.volume(), nil
	case answer == nil && r.size == before.size && snap.born >= seen.began:
		// On a session that is younger than the expand: the box may have restarted and not kept it.
		return actors.Volume{}, unresolved(fmt.Errorf("the box acknowledged it, ended the connection, and shows %d bytes as before", r.size))
	case answer == nil:
		return actors.Volume{}, fmt.Errorf("the box acknowledged it and shows %d bytes: %w", r.size, actors.ErrOutOfRange)
	case r.size != before.size:
		return actors.Volume{}, unresolved(fmt.Errorf("%w, and the disk has %d bytes, not %d as before", answer, r.size, before.size))
	}
	return actors.Volume{}, b.notExpanded(snap, before, size, answer)
}

// errAcknowledged stands for the answer of a box that has acknowledged.
var errAcknowledged = errors.New("the box acknowledged it")

func orAcknowledged(answer error) error {
	if answer == nil {
		return errAcknowledged
	}
	return answer
}

// notExpanded answers an expand that the box refused and that left the size as it was.
func (b *Box) notExpanded(snap *snapshot, r row, size int64, answer error) error {
	p, err := snap.poolOf(r.path)
	if err != nil {
		return fmt.Errorf("%w: %w", answer, err)
	}
	if c, err := p.capacity(); err == nil && c.Free < size-r.size {
		return fmt.Errorf("the pool has %d bytes free, %d more were asked for: %w: %w", c.Free, size-r.size, answer, actors.ErrFull)
	}
	return refusal(answer)
}

// lateness is how long an expand whose answer was lost is reckoned with.
const lateness = 10 * time.Minute

// expands remembers expands whose answer was lost. Such a one may land late, and would then undo a
// larger one that came after it, and cut off data.
type expands struct {
	mu   sync.Mutex
	lost map[actors.VolumeID]lostExpand
}

type lostExpand struct {
	size int64
	at   time.Time
}

// lose notes an expand. Of several, the smallest is the one that could do harm.
func (e *expands) lose(id actors.VolumeID, size int64, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lost == nil {
		e.lost = map[actors.VolumeID]lostExpand{}
	}
	if old, ok := e.lost[id]; ok {
		size = min(size, old.size)
	}
	e.lost[id] = lostExpand{size, now}
	for id, l := range e.lost {
		if now.Sub(l.at) > lateness {
			delete(e.lost, id)
		}
	}
}

// check returns actors.ErrUnavailable for an expand that a lost one could undo.
func (e *expands) check(id actors.VolumeID, size int64, now time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	l, ok := e.lost[id]
	if !ok || size <= l.size || now.Sub(l.at) > lateness {
		return nil
	}
	return fmt.Errorf("an expand to %d bytes was not answered and may yet come, larger ones wait until %s: %w",
		l.size, l.at.Add(lateness).UTC().Format(time.RFC3339), actors.ErrUnavailable)
}
