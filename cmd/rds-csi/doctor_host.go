// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/rds-csi/rds-csi/nvme/host"
	"github.com/rds-csi/rds-csi/nvme/tcp"
	"github.com/rds-csi/rds-csi/rds/doctor"
)

// An initiator connects the doctor's hosts from user space.
type initiator struct{}

// probeTimeout bounds a probe.
const probeTimeout = 5 * time.Second

// Probe implements doctor.Initiator.
func (initiator) Probe(ctx context.Context, address string) error {
	_, err := host.Probe(ctx, address, probeTimeout)
	return err
}

// Connect implements doctor.Initiator.
func (initiator) Connect(ctx context.Context, t doctor.Target) (doctor.Host, error) {
	h := &doctorHost{}
	var err error
	h.Controller, err = host.Connect(ctx, host.Config{
		Address: t.Address, SubsystemNQN: t.NQN, HostNQN: t.HostNQN, HostID: t.HostID,
		ReconnectDelay: math.MaxInt32 * time.Millisecond, CtrlLossTimeout: -1, // one connection is all there is
		OnState: func(old, now host.State) {
			if old == host.StateLive && now == host.StateResetting {
				t.Lost()
			}
		},
		OnNamespace: func(old, now host.Namespace) {
			if old != (host.Namespace{}) {
				t.Changed(diskOf(now, tcp.ControllerIdentity{}))
			}
		},
	})
	if err != nil {
		return nil, refusalOf(err)
	}
	return h, nil
}

// refusalOf tells the doctor of a refusal in its own words.
func refusalOf(err error) error {
	var status *host.StatusError
	if errors.As(err, &status) {
		return &doctor.Refused{Status: status.Error(), Code: status.Code, DNR: status.DNR}
	}
	return err
}

// A doctorHost is one connection.
type doctorHost struct{ *host.Controller }

// ReadAt implements doctor.Host.
func (h *doctorHost) ReadAt(ctx context.Context, p []byte, off int64) error {
	_, err := h.ReadAtContext(ctx, p, off)
	return err
}

// WriteAt implements doctor.Host.
func (h *doctorHost) WriteAt(ctx context.Context, p []byte, off int64) error {
	_, err := h.WriteAtContext(ctx, p, off)
	return err
}

// Disk implements doctor.Host.
func (h *doctorHost) Disk(ctx context.Context) (doctor.Disk, error) {
	if err := h.Rescan(ctx); err != nil {
		return doctor.Disk{}, err
	}
	return diskOf(h.Namespace(), h.Identify()), nil
}

func diskOf(ns host.Namespace, id tcp.ControllerIdentity) doctor.Disk {
	return doctor.Disk{
		Size: ns.Size, UUID: ns.UUID, NGUID: ns.NGUID, Model: id.Model, Firmware: id.Firmware,
		Events: id.OAES&tcp.NotifyNamespace != 0,
	}
}
