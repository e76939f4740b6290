// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import (
	"context"
	"errors"
	"fmt"

	"github.com/rds-csi/rds-csi/actors"
)

// Disconnect deletes all controllers of a subsystem and returns once sysfs shows none. It refuses
// while anything mounts or holds the subsystem's block device: the kernel would not, and the
// filesystem on it would die.
func (d *Devices) Disconnect(ctx context.Context, nqn string) error {
	// A connect under way would bring the subsystem up after it was told to be gone.
	if err := d.calls.wait(ctx, connectCall+nqn); err != nil {
		return err
	}
	sub, err := d.subsystem(nqn)
	if err != nil {
		return err
	}
	for _, dev := range sub.devices {
		err := d.calls.do(ctx, "look for users of "+dev.Num.String(), func() error { return d.checkUnused(dev) })
		var users inUseError
		switch {
		case err == nil:
		case errors.Is(err, actors.ErrUnresolved):
			return err
		case errors.As(err, &users):
			return fmt.Errorf("device %s of %s is in use (%w), delete the pods that use the volume on this node: %w", dev.Num, nqn, users, actors.ErrPrecondition)
		default:
			return fmt.Errorf("whether device %s of %s is in use cannot be told: %w: %w", dev.Num, nqn, err, actors.ErrPrecondition)
		}
	}
	return d.waitGone(ctx, nqn, d.deleteAll(sub))
}

// deleteAll begins to delete all controllers of a subsystem.
func (d *Devices) deleteAll(sub subsystem) []*call {
	var deletes []*call
	for _, c := range sub.controllers {
		// The kernel blocks for a minute if the target is frozen. Meanwhile the others can go.
		deletes = append(deletes, d.calls.start("delete "+c.name, func() (any, error) { return nil, d.writeAttr(c, "delete_controller") }))
	}
	return deletes
}

// waitGone returns once sysfs shows no controller of a subsystem, or one could not be deleted.
func (d *Devices) waitGone(ctx context.Context, nqn string, deletes []*call) error {
	d.refusals.end(nqn)
	var sub subsystem
	err := poll(ctx, d.cfg.PollInterval, func() (ok bool, err error) {
		if sub, err = d.subsystem(nqn); err != nil || len(sub.controllers) == 0 {
			return true, err
		}
		for _, c := range deletes {
			select {
			case <-c.done:
				err = errors.Join(err, c.err)
			default:
			}
		}
		return false, err
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("wait for the kernel to delete %d controllers of %s, now %s: %w: %w", len(sub.controllers), nqn, sub.state(), context.Cause(ctx), actors.ErrUnresolved)
	}
	return err
}
