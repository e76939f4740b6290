// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

// Devices connects this node to the subsystems of volumes. Errors wrap one of the actors.Err* kinds.
// Its methods are called from many goroutines, for one volume by one at a time save Connections.
type Devices interface {
	// Connect returns the target's block device, connecting where there is no live connection yet.
	// A device smaller than the target says is ErrPrecondition, and so is a target that does not allow
	// this host; an unreachable target is ErrUnavailable, a connect whose end was not seen
	// ErrUnresolved.
	Connect(ctx context.Context, t nvme.Target) (nvme.Device, error)
	// Connections returns what this node has of subsystems whose NQN names the volume, in whatever
	// state, also while a connect whose end was not seen is under way. It asks the kernel only, never
	// the target.
	Connections(ctx context.Context, id actors.VolumeID) ([]nvme.Connection, error)
	// Rescan makes the kernel look at the namespace's size again, and returns once it is at least
	// size bytes. It may make the connection anew for that, where no I/O can be lost by it. ErrNotFound:
	// not connected. ErrUnavailable: the size stayed smaller.
	Rescan(ctx context.Context, nqn string, size int64) (nvme.Device, error)
	// Disconnect returns nil once the kernel has nothing of the subsystem left. It is
	// ErrPrecondition, and nothing was done, while anything mounts or holds the device.
	Disconnect(ctx context.Context, nqn string) error
	// Relinquish gives up a connection that the kernel tries to remake, although its device may be in use,
	// if the target says that the attachment is over, and returns why. Where the target does not say so
	// nothing was done, and the text is empty. nvme.ErrHostRefused: it may say so soon.
	Relinquish(ctx context.Context, t nvme.Target) (why string, err error)
}

// Mounts puts devices and filesystems at paths. Errors wrap one of the actors.Err* kinds.
type Mounts interface {
	// Inspect returns what is at a path. An absent path is no error.
	Inspect(ctx context.Context, path string) (nvme.Entry, error)
	// Mount mounts the device's filesystem at an existing directory, and makes it first on a device
	// that is certainly blank. A device that holds anything else is ErrPrecondition.
	Mount(ctx context.Context, dev nvme.Device, path string, fs nvme.Filesystem) error
	// Bind makes the directory target, where it is absent, and mounts source on it.
	Bind(ctx context.Context, source, target string, readOnly bool) error
	// MakeNode makes a block device node at the absent path target.
	MakeNode(ctx context.Context, dev nvme.Device, target string, readOnly bool) error
	// Unmount takes down all mounts at a path, and leaves what is below them.
	Unmount(ctx context.Context, path string) error
}

// Surveyor looks at what the node has of volumes.
type Surveyor interface {
	// Survey looks at many volumes, each with the paths where it should be seen. It asks no target and waits
	// for no device; when ctx ends first it is ErrUnresolved.
	Survey(ctx context.Context, volumes map[actors.VolumeID][]string) (map[actors.VolumeID]nvme.Sight, error)
}

// Filesystems looks after mounted filesystems. Errors wrap one of the actors.Err* kinds.
type Filesystems interface {
	// Grow makes the filesystem that is mounted at path as large as its device.
	Grow(ctx context.Context, dev nvme.Device, path string) error
	// Usage tells how full the filesystem at path is.
	Usage(ctx context.Context, path string) (nvme.Usage, error)
	// Identify tells which filesystem a device holds, so that it can be told from any other.
	Identify(ctx context.Context, dev nvme.Device) (string, error)
	// Restore mounts the filesystem that Identify told of, and neither makes nor checks one. A device that
	// holds another is ErrPrecondition.
	Restore(ctx context.Context, dev nvme.Device, path string, fs nvme.Filesystem, known string) error
}
