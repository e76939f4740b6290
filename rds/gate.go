// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"fmt"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// A gated session asks whether it may change the box right before it does: whatever a change had to wait
// for, another process may have become the one that writes.
type gated struct {
	session
	may func() error
}

// gate lets changes through a session only while may returns nil. A nil may always does.
func gate(s session, may func() error) session {
	if may == nil {
		return s
	}
	return gated{s, may}
}

// Change implements session.
func (g gated) Change(ctx context.Context, changes ...change) []answer {
	if err := g.may(); err != nil {
		return all(len(changes), fmt.Errorf("%w: %w", routeros.ErrNotSent, err))
	}
	return g.session.Change(ctx, changes...)
}
