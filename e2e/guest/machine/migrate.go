// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"

	"github.com/rds-csi/rds-csi/e2e/guest/qmp"
)

// incoming is where a machine waits for the guest of another one, as QEMU calls it.
func (m *Machine) incoming() string { return "unix:" + m.path("incoming") }

// Migrate brings the guest to another machine, which was started as incoming and otherwise alike, and returns when
// it runs there and its agent answers. This machine has stopped by then, and its agent is not to be asked: a request
// that is under way meanwhile is not answered, neither here nor there.
func (m *Machine) Migrate(ctx context.Context, to *Machine) (qmp.Migration, error) {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	migration, err := m.qmp.Migrate(ctx, to.incoming())
	if err != nil {
		return migration, err
	}
	if _, err := to.qmp.Await(ctx, 0, "RESUME"); err != nil {
		return migration, fmt.Errorf("the guest left, and did not arrive: %w", err)
	}
	return migration, to.meet(ctx)
}
