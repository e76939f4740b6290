// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

const (
	// repairTimeout bounds the repair of one volume.
	repairTimeout = 45 * time.Second
	// kernelTimeout is how long a call may take that the kernel does not let go of: a connect to a frozen
	// target takes 62 s.
	kernelTimeout = 70 * time.Second
)

// errNothingToRepair says that a volume is not, or not any more, one that can be repaired.
var errNothingToRepair = errors.New("nothing to repair")

// mendAll mends what it is given until ctx ends.
func (n *Node) mendAll(ctx context.Context, jobs <-chan actors.VolumeID) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-jobs:
			n.flights.aside(ctx, id, func(ctx context.Context) { n.mend(ctx, id) })
		}
	}
}

// mend does for a volume what can be done without anybody.
func (n *Node) mend(ctx context.Context, id actors.VolumeID) {
	if n.watch.condition(id) == Waiting {
		n.relinquish(ctx, id)
		return
	}
	n.repairOne(ctx, id)
}

// repairOne repairs one volume and tells how that went.
func (n *Node) repairOne(ctx context.Context, id actors.VolumeID) {
	err := n.repair(ctx, id)
	if errors.Is(err, errNothingToRepair) || (err != nil && ctx.Err() != nil) {
		return // a request comes first; whatever is left to do shows at the next look
	}
	n.hooks.Recovered(err)
	complain := n.watch.attempted(id, err, time.Now())
	if err == nil {
		n.log.InfoContext(ctx, "mounted a volume again whose connection was lost", "volume-id", string(id))
		return
	}
	n.log.WarnContext(ctx, "a volume whose connection was lost could not be mounted again", "volume-id", string(id), "error", err)
	if complain {
		n.hooks.Report(ReasonRecoveryFailed, id, fmt.Sprintf("connecting and mounting it again failed, it is tried again: %v", err))
	}
}

// repair connects a volume again that nothing uses, and mounts it in the place of its dead mount. Everything
// that could go wrong is found out before the dead mount goes. Nothing is formatted, nothing is checked: what
// the device holds must be the filesystem that was staged, and its journal is replayed as after any loss of
// power. The caller holds the volume's flight.
func (n *Node) repair(ctx context.Context, id actors.VolumeID) error {
	ctx, cancel := context.WithTimeoutCause(ctx, repairTimeout, errors.New("the repair takes too long"))
	defer cancel()
	rec, err := n.records.load(id)
	if err != nil || rec == nil {
		return errors.Join(errNothingToRepair, err)
	}
	s, f := n.examine(ctx, rec)
	target, ok := rec.target()
	if !f.repairable || !ok {
		return errNothingToRepair
	}
	if n.host.NQN != "" && n.host != target.Host {
		return fmt.Errorf("volume was staged as host %s and this node is %s, unstage it first: %w", target.Host.NQN, n.host.NQN, actors.ErrPrecondition)
	}
	var dev nvme.Device
	if err := seeThrough(ctx, func(ctx context.Context) error {
		dev, err = n.devices.Connect(ctx, target)
		return err
	}); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if dev.Size < rec.Size {
		return fmt.Errorf("device %s has %d bytes, published were %d; nothing was touched: %w", dev.Path, dev.Size, rec.Size, actors.ErrPrecondition)
	}
	content, err := n.filesystems.Identify(ctx, dev)
	if err != nil {
		return fmt.Errorf("identify the filesystem: %w", err)
	}
	if content != rec.Content {
		return fmt.Errorf("device %s holds %s, staged was %s; nothing was touched: %w", dev.Path, content, rec.Content, actors.ErrPrecondition)
	}
	if s.Entries[0].Mounted && s.Entries[0].Num == dev.Num {
		return nil // the kernel had kept the device
	}
	// From here on a missing mount is this repair's, not somebody's who took it down on purpose.
	rec.Repairing = true
	if err := n.records.save(rec); err != nil {
		return err
	}
	if err := n.mounts.Unmount(ctx, rec.Staging); err != nil {
		return fmt.Errorf("unmount what is left from %s: %w", rec.Staging, err)
	}
	if err := seeThrough(ctx, func(ctx context.Context) error {
		return n.filesystems.Restore(ctx, dev, rec.Staging, rec.Access.filesystem(), rec.Content)
	}); err != nil {
		return fmt.Errorf("mount at %s: %w", rec.Staging, err)
	}
	rec.Repairing = false
	return n.records.save(rec)
}

// seeThrough does what the kernel cannot be kept from finishing, once it was asked: a request that comes first
// waits for that. Else a volume could be unstaged, and be connected afterwards.
func seeThrough(ctx context.Context, op func(context.Context) error) error {
	err := op(ctx)
	if !errors.Is(err, actors.ErrUnresolved) {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), kernelTimeout, errors.New("the kernel takes too long"))
	defer cancel()
	return op(ctx) // joins what is under way
}
