// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
	"github.com/rds-csi/rds-csi/nvme/host"
	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// A prober asks targets over the network, with the initiator in user space.
type prober struct{}

// Answers implements nvme.Prober.
func (prober) Answers(ctx context.Context, address string) (netip.AddrPort, error) {
	return host.Probe(ctx, address, 0)
}

// Admits implements nvme.Prober.
func (prober) Admits(ctx context.Context, address string, h actors.Host, nqn string) error {
	id, err := uuid.Parse(h.ID)
	if err != nil {
		return fmt.Errorf("parse host ID: %w", err)
	}
	err = host.Admit(ctx, host.Config{Address: address, SubsystemNQN: nqn, HostNQN: h.NQN, HostID: id})
	var status *host.StatusError
	if !errors.As(err, &status) {
		return err
	}
	switch tcp.Status(status.Code) {
	case tcp.StatusConnectHost:
		return fmt.Errorf("%w: %w", nvme.ErrHostRefused, err)
	case tcp.StatusConnectInvalid: // its other causes are faults of this driver
		return fmt.Errorf("%w: %w", nvme.ErrNotExported, err)
	}
	return err
}

// Lists implements nvme.Prober.
func (prober) Lists(ctx context.Context, address, hostNQN string) ([]string, error) {
	entries, err := host.Discover(ctx, address, hostNQN)
	var nqns []string
	for _, e := range entries {
		nqns = append(nqns, e.SubNQN)
	}
	return nqns, err
}
