// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rds-csi/rds-csi/actors"
)

// Sector is what sizes are multiples of, in bytes.
const Sector = 512

// Create makes a volume's disk, not exported, and returns it as the box shows it. A disk of this cluster
// and size that is there already is returned as it is.
//
// ErrInvalid: spec is malformed, or its path is not configured. ErrExists: the disk has another size.
// ErrPrecondition: it is another cluster's, or not the driver's. ErrFull: the pool has no room, and
// nothing was left in it. ErrOutOfRange: the box made a disk of another size, which was removed.
// ErrUnavailable: nothing was made. ErrUnresolved: what was made, or will be, is not known; call again.
func (b *Box) Create(ctx context.Context, spec actors.Spec) (actors.Volume, error) {
	v, err := again(ctx, func() (actors.Volume, error) { return b.create(ctx, spec) })
	if err != nil {
		return actors.Volume{}, fmt.Errorf("create volume %.64s: %w", string(spec.ID), err)
	}
	return v, nil
}

func (b *Box) create(ctx context.Context, spec actors.Spec) (actors.Volume, error) {
	if err := b.checkSpec(spec); err != nil {
		return actors.Volume{}, err
	}
	if err := b.sessions.ready(ctx, ordinary); err != nil {
		return actors.Volume{}, unavailable(err)
	}
	snap, err := b.look(ctx)
	if err != nil {
		return actors.Volume{}, err
	}
	r, ok, err := b.find(snap, spec.ID)
	switch {
	case err != nil:
		return actors.Volume{}, err
	case ok:
		return b.existing(r, spec)
	}
	port := b.ports.choose(snap, spec.Ports)
	defer func() { b.ports.release(port, time.Now(), 10*b.cfg.CommandTimeout) }()

	spec.Ledger.Port = port.port
	m := making{b: b, spec: spec, port: port.port, path: filePath(spec.VolumePath, spec.ID)}
	a := b.change(ctx, command{kind: KindCreate, volume: spec.ID}, m.add())
	m.answer, m.made = a.err, a.made
	return m.conclude(ctx)
}

func (b *Box) checkSpec(spec actors.Spec) error {
	if err := spec.ID.Check(); err != nil {
		return err
	}
	if err := checkSize(spec.Size); err != nil {
		return err
	}
	if err := b.checkConfigured(spec.VolumePath); err != nil {
		return err
	}
	if err := checkNQN("subsystem NQN", spec.NQN); err != nil {
		return err
	}
	if _, ok := actors.NQNPrefix(spec.NQN, spec.ID); !ok {
		return fmt.Errorf("subsystem NQN %s does not name the volume: %w", spec.NQN, actors.ErrInvalid)
	}
	if nqn := spec.Ledger.NQN(spec.ID); nqn != spec.NQN {
		return fmt.Errorf("ledger of the subsystem NQN %.240s, asked for is %s: %w", nqn, spec.NQN, actors.ErrInvalid)
	}
	if p := spec.Ports; p.First < 1024 || p.Last < p.First {
		return fmt.Errorf("NVMe/TCP ports %d-%d are no range from 1024 on: %w", p.First, p.Last, actors.ErrInvalid)
	}
	if spec.Ledger.Cluster != b.cfg.Cluster {
		return fmt.Errorf("ledger of cluster %.32q, this is %s: %w", spec.Ledger.Cluster, b.cfg.Cluster, actors.ErrInvalid)
	}
	if _, _, err := actors.ParseLedger(spec.Ledger.String()); err != nil {
		return fmt.Errorf("ledger that could not be read back: %w: %w", err, actors.ErrInvalid)
	}
	return nil
}

// checkConfigured reports actors.ErrInvalid unless volumes may lie in a directory. A file elsewhere could
// not be found again by a delete whose row is gone.
func (b *Box) checkConfigured(dir string) error {
	if err := checkPath(dir); err != nil {
		return err
	}
	if !slices.Contains(b.cfg.VolumePaths, dir) {
		return fmt.Errorf("volume path %s is none of those configured (--volume-path), %s: %w", dir, strings.Join(b.cfg.VolumePaths, " "), actors.ErrInvalid)
	}
	return nil
}

func checkSize(size int64) error {
	if size <= 0 || size%Sector != 0 {
		return fmt.Errorf("size of %d bytes is not a positive multiple of %d: %w", size, Sector, actors.ErrInvalid)
	}
	return nil
}

// filePath returns the file of a volume, with a leading slash.
func filePath(dir string, id actors.VolumeID) string { return dir + "/" + string(id) + ".img" }

// existing answers a create of a volume that has a row.
func (b *Box) existing(r row, spec actors.Spec) (actors.Volume, error) {
	if err := b.sameCluster(r); err != nil {
		return actors.Volume{}, err
	}
	if r.size != spec.Size {
		return actors.Volume{}, fmt.Errorf("disk %q has %d bytes, %d were asked for: %w", r.slot, r.size, spec.Size, actors.ErrExists)
	}
	return r.volume(), nil
}

// making is a disk that is being made.
type making struct {
	b      *Box
	spec   actors.Spec
	port   uint16
	path   string // of the file
	answer error  // of the box to the add
	made   string // .id of the row, where the box acknowledged the add
}

func (m *making) add() addDisk {
	return addDisk{
		slot: strings.ReplaceAll(m.spec.ID.UUID(), "-", ""), file: m.path, size: m.spec.Size,
		port: m.port, nqn: m.spec.NQN, comment: m.spec.Ledger.String(),
	}
}

// conclude reads back what the add did, whatever the box answered.
func (m *making) conclude(ctx context.Context) (actors.Volume, error) {
	if fateOf(m.answer) == unsent {
		return actors.Volume{}, unavailable(m.answer)
	}
	snap, err := m.b.look(ctx)
	if err != nil {
		return actors.Volume{}, m.unresolved("and the read-back failed: %v", err)
	}
	r, ok := snap.row(m.spec.ID)
	if ok {
		return m.verify(ctx, r)
	}
	switch fateOf(m.answer) {
	case acknowledged:
		return actors.Volume{}, m.unresolved("the box acknowledged the disk and does not show it")
	case refused:
		return actors.Volume{}, m.refused(ctx, snap)
	}
	return actors.Volume{}, m.unresolved("the disk is not there, and may yet come")
}

func (m *making) unresolved(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if m.answer != nil {
		err = fmt.Errorf("%w, %w", m.answer, err)
	}
	return unresolved(err)
}

// verify compares the row with what was asked for.
func (m *making) verify(ctx context.Context, r row) (actors.Volume, error) {
	v := r.volume()
	var wrong error
	switch {
	case r.err != nil:
		wrong = r.err
	case r.comment != m.spec.Ledger.String():
		wrong = fmt.Errorf("comment is %.300q", r.comment)
	case v.Size != m.spec.Size:
		wrong = fmt.Errorf("size is %d bytes", v.Size)
	case v.NQN != m.spec.NQN || v.Port != m.port:
		wrong = fmt.Errorf("subsystem is %.240q on port %d", v.NQN, v.Port)
	case r.path != m.path:
		wrong = fmt.Errorf("file is %.240q", r.path)
	default:
		m.b.longest(int64(len(r.comment)))
		return v, nil
	}
	if m.made == "" || m.made != r.id || r.path != m.path {
		// Perhaps somebody else's.
		return actors.Volume{}, m.unresolved("disk %q is not as asked for: %v", r.slot, wrong)
	}
	if _, err := again(ctx, func() (none, error) { return none{}, m.b.destroy(ctx, m.spec.ID, r) }); err != nil {
		return actors.Volume{}, m.unresolved("disk %q is not as asked for: %v; its removal failed: %v", r.slot, wrong, err)
	}
	return actors.Volume{}, fmt.Errorf("the box made another disk than it was asked for, which was removed: its %v: %w", wrong, actors.ErrOutOfRange) //nolint:errorlint // one kind only
}

// refused answers an add that the box refused and of which there is no row. Its file may be there.
func (m *making) refused(ctx context.Context, snap *snapshot) error {
	p, err := snap.poolOf(m.spec.VolumePath)
	if err != nil {
		return m.unresolved("and what it left cannot be seen: %v", err)
	}
	c, err := p.capacity()
	full := saysFull(m.answer) || (err == nil && c.Free < m.spec.Size && !saysTaken(m.answer))
	if !full {
		// A final answer would need to know that no file was left, and one that is there may not be
		// what this add made: it is not removed.
		if saysTaken(m.answer) && !isStale(m.answer) {
			return fmt.Errorf("the box did not add the disk, and shows none of that name: if file %s was left there, as by a box that restarted before it had saved the disk, see that nobody needs it, and /file/remove %s on the box: %w",
				m.path, strings.TrimPrefix(m.path, "/"), unavailable(m.answer))
		}
		return fmt.Errorf("the box did not add the disk: %w", unavailable(explain(m.answer)))
	}
	if err := m.b.removeFile(ctx, snap, m.spec.ID, m.path); err != nil {
		return m.unresolved("and what it left was not removed: %v", err)
	}
	return fmt.Errorf("the pool has %d bytes free, %d were asked for: %w: %w", c.Free, m.spec.Size, m.answer, actors.ErrFull)
}

// destroy removes a row that was just made, and its file.
func (b *Box) destroy(ctx context.Context, id actors.VolumeID, r row) error {
	snap, err := b.look(ctx)
	if err != nil {
		return err
	}
	if now, ok := snap.row(id); !ok || now.id != r.id || now.path != r.path {
		return fmt.Errorf("disk %q has changed: %w", r.slot, actors.ErrUnresolved)
	}
	return b.remove(ctx, snap, id, r)
}
