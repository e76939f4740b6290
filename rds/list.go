// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

// listings shares listings among those who ask.
type listings struct {
	wake chan struct{} // room for one: next is wanted

	mu   sync.Mutex
	next *listing // not begun yet; nil: nobody waits
}

// A listing is one look at the box.
type listing struct {
	donec chan struct{} // closed when it has ended
	snap  *snapshot
	err   error // actors.ErrUnavailable
}

// look returns what the box shows, from a listing that began after the call, within the command
// deadline. The error is actors.ErrUnavailable.
func (b *Box) look(ctx context.Context) (*snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.CommandTimeout)
	defer cancel()
	ls := &b.listings
	ls.mu.Lock()
	if ls.next == nil {
		ls.next = &listing{donec: make(chan struct{})}
	}
	l := ls.next
	ls.mu.Unlock()
	select {
	case ls.wake <- struct{}{}:
	default:
	}
	select {
	case <-l.donec:
		return l.snap, l.err
	case <-ctx.Done():
		return nil, fmt.Errorf("list volumes: %w", unavailable(context.Cause(ctx)))
	case <-b.ctx.Done():
		return nil, fmt.Errorf("list volumes: %w", unavailable(errClosed))
	}
}

// listLoop makes one listing after the other while there is somebody to read it.
func (b *Box) listLoop() {
	ls := &b.listings
	var last *snapshot // the newest that there is
	for {
		select {
		case <-ls.wake:
		case <-b.ctx.Done():
			return
		}
		if !ls.wanted() {
			continue
		}
		var l *listing
		begin := func() {
			if l == nil {
				l = ls.begin()
			}
		}
		snap, err := b.list(last, begin)
		begin() // where it never did, all who wait learn why
		if l.snap = snap; err != nil {
			l.err = fmt.Errorf("list volumes on box %s: %w", b.cfg.Address, unavailable(err))
		} else {
			last = snap
		}
		close(l.donec)
	}
}

// wanted reports whether somebody waits.
func (ls *listings) wanted() bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.next != nil
}

// begin returns the listing of all who wait. Who asks from now on gets the one after.
func (ls *listings) begin() *listing {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.next
	ls.next = nil
	return l
}

// list lists the file disks, and with them, in one answer, the disks that are mounted: a file disk
// that is missing proves nothing while its pool is. last is the listing before, if there was one. begin is
// called when there is a session, right before it is asked: who came until then has waited for the same.
func (b *Box) list(last *snapshot, begin func()) (*snapshot, error) {
	ctx, cancel := context.WithTimeout(b.ctx, b.cfg.CommandTimeout)
	defer cancel()
	for tries := 0; ; tries++ {
		var rows []routeros.Row
		var began, born uint64
		var at time.Time
		dead := false
		cmd := command{kind: KindList, class: urgent}
		err := b.observe(ctx, cmd, func(ctx context.Context, sent func(*member)) error {
			leave := func(m *member) { born = m.born; sent(m) }
			return b.on(ctx, cmd, leave, func(s session) (err error) {
				begin()
				// The session is there already, so it is older than the listing.
				began, at = b.sessions.tick(), time.Now()
				rows, err = s.Read(ctx, disks)
				dead = err != nil && s.Err() != nil
				return err
			})
		})
		if err == nil {
			snap := newSnapshot(at, rows, last)
			snap.began, snap.born = began, born
			if last != nil {
				// A session that is older than the listing before is with a box that has not restarted since.
				snap.expect(last, born >= last.began && snap.lacks(last) && b.restarted(ctx, last.at), b.cfg.RestartGrace)
			}
			return snap, nil
		}
		// A connection that turns out to be dead when it is used is worth one more try.
		if !dead || tries > 0 || errors.Is(err, context.DeadlineExceeded) {
			return nil, explain(err)
		}
	}
}

// restarted reports whether the box may have restarted since a time.
func (b *Box) restarted(ctx context.Context, since time.Time) bool {
	var rows []routeros.Row
	cmd := command{kind: KindUptime, class: urgent}
	err := b.observe(ctx, cmd, func(ctx context.Context, sent func(*member)) error {
		return b.on(ctx, cmd, sent, func(s session) (err error) {
			rows, err = s.Read(ctx, uptime)
			return err
		})
	})
	return err != nil || len(rows) != 1 || routeros.Uptime(rows[0].Get("uptime")) <= time.Since(since)
}

// List returns every row that carries a ledger, of this cluster or another, sorted by ID, from a
// listing that began after the call. A row whose ledger is damaged comes with a zero ledger, which is
// no cluster's. The error is actors.ErrUnavailable, also while the pool of a configured volume path is
// missing, as for a while after a start of the box, or a row that was there before: see Config.RestartGrace.
func (b *Box) List(ctx context.Context) ([]actors.Volume, error) {
	snap, err := b.look(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.complete(snap); err != nil {
		return nil, fmt.Errorf("list volumes: whether these are all cannot be told: %w", err)
	}
	if missing := slices.Sorted(maps.Keys(snap.missing)); len(missing) > 0 {
		return nil, fmt.Errorf("list volumes: %d are missing, of them %s: %w", len(missing), missing[0], snap.late(missing[0]))
	}
	var vols []actors.Volume
	for _, id := range slices.Sorted(maps.Keys(snap.volumes)) {
		r := snap.volumes[id]
		if r.err != nil {
			b.cfg.Logger.Error("a volume's row cannot be used and is left alone", "volume-id", string(id), "slot", r.slot, "error", r.err)
		}
		if v := r.volume(); v.Ours {
			vols = append(vols, v)
		}
	}
	return vols, nil
}

// Read returns one volume's row from a listing that began after the call. Exists is false where there
// is none although every pool of the configured volume paths is there; while one is missing, or the row
// that was there before may come back (Config.RestartGrace), the error is actors.ErrUnavailable. A row that two disks claim, or whose ledger is damaged, is
// actors.ErrPrecondition.
func (b *Box) Read(ctx context.Context, id actors.VolumeID) (actors.Volume, error) {
	if err := id.Check(); err != nil {
		return actors.Volume{}, fmt.Errorf("read volume: %w", err)
	}
	snap, err := b.look(ctx)
	if err != nil {
		return actors.Volume{}, fmt.Errorf("read volume %s: %w", id, err)
	}
	r, ok, err := b.find(snap, id)
	switch {
	case err != nil:
		return actors.Volume{}, fmt.Errorf("read volume %s: %w", id, err)
	case !ok:
		return actors.Volume{ID: id}, nil
	case r.err != nil:
		return actors.Volume{}, fmt.Errorf("read volume %s: %w", id, r.err)
	}
	return r.volume(), nil
}

// find returns a volume's row, or false where the box has none. It is actors.ErrUnavailable where that
// cannot be told.
func (b *Box) find(snap *snapshot, id actors.VolumeID) (row, bool, error) {
	if r, ok := snap.row(id); ok {
		return r, true, nil
	}
	if err := errors.Join(b.complete(snap), snap.late(id)); err != nil {
		return row{}, false, fmt.Errorf("whether the volume exists cannot be told: %w", err)
	}
	return row{}, false, nil
}

// complete reports actors.ErrUnavailable unless a listing shows the pool of every configured volume path:
// a row that is missing proves nothing otherwise.
func (b *Box) complete(snap *snapshot) error {
	for _, p := range b.cfg.VolumePaths {
		if _, err := snap.poolOf(p); err != nil {
			return err
		}
	}
	return nil
}
