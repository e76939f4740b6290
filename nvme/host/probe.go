// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"time"
)

// Probe reports whether an NVMe/TCP target answers at an address, host:port, within the timeout
// (zero: a minute): it connects, exchanges ICReq and ICResp, and closes. It sends no command, so that the target makes
// no controller for it. It is meant to be asked before the kernel is, whose connect to a target that
// accepts and does not answer blocks for a minute. A port that refuses wraps syscall.ECONNREFUSED,
// a target that does not answer context.DeadlineExceeded, something else that listens there
// ErrProtocol.
func Probe(ctx context.Context, addr string, timeout time.Duration) error {
	cfg := Config{Address: addr, AdminTimeout: timeout}.withDefaults()
	w, err := dial(ctx, cfg)
	if err != nil {
		return fmt.Errorf("probe %s: %w", cfg.Address, err)
	}
	_ = w.conn.Close() // it has answered; that is all there was to know
	return nil
}
