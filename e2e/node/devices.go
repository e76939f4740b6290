// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi/csitest"
	"github.com/rds-csi/rds-csi/nvme"
	"github.com/rds-csi/rds-csi/nvme/host"
)

// Devices are a node's NVMe/TCP connections. They implement the interface of that name of package csi.
type Devices struct {
	*csitest.Node // keeps books on device numbers and mounts

	mu    sync.Mutex
	disks map[string]*host.Controller // by NQN
}

// newDevices returns a node without connections.
func newDevices() *Devices {
	d := &Devices{disks: map[string]*host.Controller{}}
	d.Node = csitest.New(csitest.Config{Size: d.size})
	return d
}

// size reads the size of a connected namespace anew.
func (d *Devices) size(ctx context.Context, nqn string) (int64, error) {
	disk := d.disk(nqn)
	if disk == nil {
		return 0, fmt.Errorf("%s is not connected: %w", nqn, actors.ErrNotFound)
	}
	if err := disk.Rescan(ctx); err != nil {
		return 0, fmt.Errorf("rescan %s: %w: %w", nqn, err, actors.ErrUnavailable)
	}
	return disk.Size(), nil
}

func (d *Devices) disk(nqn string) *host.Controller {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.disks[nqn]
}

// Connect connects to the target, unless there is a connection that lives.
func (d *Devices) Connect(ctx context.Context, t nvme.Target) (nvme.Device, error) {
	if disk := d.disk(t.NQN); disk == nil || disk.Err() != nil {
		id, err := uuid.Parse(t.Host.ID)
		if err != nil {
			return nvme.Device{}, fmt.Errorf("host ID %q: %w: %w", t.Host.ID, err, actors.ErrInvalid)
		}
		if disk, err = host.Connect(ctx, host.Config{
			Address:      net.JoinHostPort(t.Address, strconv.Itoa(int(t.Port))),
			SubsystemNQN: t.NQN, HostNQN: t.Host.NQN, HostID: id, CtrlLossTimeout: -1, HonorDNR: true,
			ReconnectDelay: time.Duration(t.ReconnectDelay) * time.Second, KeepAlive: time.Duration(t.KeepAlive) * time.Second,
		}); err != nil {
			return nvme.Device{}, fmt.Errorf("connect %s: %w: %w", t.NQN, err, actors.ErrUnavailable)
		}
		d.mu.Lock()
		d.disks[t.NQN] = disk
		d.mu.Unlock()
	}
	return d.Node.Connect(ctx, t)
}

// Connections returns the connections whose NQN names the volume, in the state that they are in.
func (d *Devices) Connections(ctx context.Context, id actors.VolumeID) ([]nvme.Connection, error) {
	found, err := d.Node.Connections(ctx, id)
	for i, c := range found {
		disk := d.disk(c.NQN)
		switch {
		case disk == nil || disk.Err() != nil:
			found[i].State, found[i].Device = nvme.StateGone, nvme.Device{}
		case disk.State() == host.StateLive:
			found[i].State = nvme.StateLive
		default:
			found[i].State = nvme.StateConnecting
		}
	}
	return found, err
}

// Disconnect ends a connection, unless its device is mounted.
func (d *Devices) Disconnect(ctx context.Context, nqn string) error {
	if err := d.Node.Disconnect(ctx, nqn); err != nil {
		return err
	}
	d.mu.Lock()
	disk := d.disks[nqn]
	delete(d.disks, nqn)
	d.mu.Unlock()
	if disk == nil {
		return nil
	}
	return disk.Close()
}

// close ends all connections, as when the power fails: nobody unmounts.
func (d *Devices) close() error {
	d.mu.Lock()
	disks := d.disks
	d.disks = map[string]*host.Controller{}
	d.mu.Unlock()
	var errs []error
	for _, disk := range disks {
		errs = append(errs, disk.Close())
	}
	return errors.Join(errs...)
}

// volume returns the connection to a volume; nil: there is none that lives.
func (d *Devices) volume(id actors.VolumeID) *host.Controller {
	d.mu.Lock()
	defer d.mu.Unlock()
	for nqn, disk := range d.disks {
		if _, ok := actors.NQNPrefix(nqn, id); ok && disk.Err() == nil {
			return disk
		}
	}
	return nil
}
