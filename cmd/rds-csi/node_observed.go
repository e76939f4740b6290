// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/nvme"
	"github.com/rds-csi/rds-csi/telemetry"
)

// observedDevices counts and times the connects of a node.
type observedDevices struct {
	csi.Devices
	tel *telemetry.Telemetry
}

func (d observedDevices) Connect(ctx context.Context, t nvme.Target) (nvme.Device, error) {
	begin := time.Now()
	dev, err := d.Devices.Connect(ctx, t)
	d.tel.NVMeConnect(time.Since(begin), err)
	return dev, err
}

// observedMounts counts what a node mounts and unmounts, nodes of block devices included.
type observedMounts struct {
	csi.Mounts
	tel *telemetry.Telemetry
}

func (m observedMounts) Mount(ctx context.Context, dev nvme.Device, path string, fs nvme.Filesystem) error {
	err := m.Mounts.Mount(ctx, dev, path, fs)
	m.tel.Mount("mount", err)
	return err
}

func (m observedMounts) Bind(ctx context.Context, source, target string, readOnly bool) error {
	err := m.Mounts.Bind(ctx, source, target, readOnly)
	m.tel.Mount("mount", err)
	return err
}

func (m observedMounts) MakeNode(ctx context.Context, dev nvme.Device, target string, readOnly bool) error {
	err := m.Mounts.MakeNode(ctx, dev, target, readOnly)
	m.tel.Mount("mount", err)
	return err
}

func (m observedMounts) Unmount(ctx context.Context, path string) error {
	err := m.Mounts.Unmount(ctx, path)
	m.tel.Mount("unmount", err)
	return err
}

// observedFilesystems counts the mounts of a node's repairs, too.
type observedFilesystems struct {
	csi.Filesystems
	tel *telemetry.Telemetry
}

func (f observedFilesystems) Restore(ctx context.Context, dev nvme.Device, path string, fs nvme.Filesystem, known string) error {
	err := f.Filesystems.Restore(ctx, dev, path, fs, known)
	f.tel.Mount("mount", err)
	return err
}
