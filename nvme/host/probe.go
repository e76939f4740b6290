// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// Probe reports whether an NVMe/TCP target answers at an address, host:port, within the timeout
// (zero: a minute), and at which IP address it was found: it connects, exchanges ICReq and ICResp,
// and closes. It sends no command, so that the target makes no controller for it. It is meant to be
// asked before the kernel is, whose connect to a target that accepts and does not answer blocks for
// a minute. A port that refuses wraps syscall.ECONNREFUSED, a target that does not answer
// context.DeadlineExceeded, something else that listens there ErrProtocol.
func Probe(ctx context.Context, addr string, timeout time.Duration) (netip.AddrPort, error) {
	cfg := Config{Address: addr, AdminTimeout: timeout}.withDefaults()
	w, err := dial(ctx, cfg)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("probe %s: %w", cfg.Address, err)
	}
	remote := w.conn.RemoteAddr().String()
	_ = w.conn.Close() // it has answered; that is all there was to know
	found, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("probe %s: find its address: %w", cfg.Address, err)
	}
	return netip.AddrPortFrom(found.Addr().Unmap(), found.Port()), nil
}

// Admit reports whether a target lets a host connect to a subsystem: it sends the Connect command of
// an admin queue and closes, so that the target makes a controller and ends it at once. A refusal
// is a *StatusError. It is not for a subsystem that the host has in use: a target that keeps one
// controller per host might end that one for it. A config that is incomplete is ErrConfig.
func Admit(ctx context.Context, cfg Config) error {
	cfg.KeepAlive = -1 // it is not kept
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return fmt.Errorf("admit: %w", err)
	}
	w, err := dial(ctx, cfg)
	if err != nil {
		return fmt.Errorf("admit to %s: %w", cfg.Address, err)
	}
	a := newAssociation(cfg)
	defer a.close(ErrClosed)
	a.admin = a.open(w, 0, adminDepth, adminInCapsule)
	if _, err := a.connectQueue(ctx, a.admin, tcp.AnyController); err != nil {
		return fmt.Errorf("admit to %s: %w", cfg.Address, err)
	}
	return nil
}
