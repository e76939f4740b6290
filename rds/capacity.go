// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"fmt"

	"github.com/rds-csi/rds-csi/actors"
)

// Capacity returns the state of the pool that holds a volume path, in exact bytes. The error is
// actors.ErrInvalid for a path that is not configured, and otherwise actors.ErrUnavailable, also where
// the pool is missing or does not tell its size.
func (b *Box) Capacity(ctx context.Context, volumePath string) (actors.Capacity, error) {
	if err := b.checkConfigured(volumePath); err != nil {
		return actors.Capacity{}, fmt.Errorf("read capacity: %w", err)
	}
	snap, err := b.look(ctx)
	if err != nil {
		return actors.Capacity{}, fmt.Errorf("read capacity: %w", err)
	}
	p, err := snap.poolOf(volumePath)
	if err != nil {
		return actors.Capacity{}, fmt.Errorf("read capacity: %w", err)
	}
	c, err := p.capacity()
	if err != nil {
		return actors.Capacity{}, fmt.Errorf("read capacity of %s: %w", volumePath, err)
	}
	return c, nil
}
