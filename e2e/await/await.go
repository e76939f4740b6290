// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package await waits until something is so.
package await

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// limit bounds each wait. It is no promise about speed: what takes longer hangs.
const limit = 2 * time.Minute

// Nil asks until the answer is nil, and fails with the last answer if that takes too long.
func Nil(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err // one that came of the end of ctx says nothing
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("it did not come to that: %w", context.Cause(ctx)), last)
		}
	}
}
