// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rds-csi/rds-csi/actors"
)

// Config configures Devices. With a Prober alone it is right for a privileged process with the host's
// /dev and /sys, in the host's PID and network name spaces.
type Config struct {
	// Sys, Dev and Proc are where sysfs, devtmpfs and procfs are mounted. Empty: /sys, /dev, /proc.
	// Users of a device in other containers are seen only if Proc shows the host's processes.
	Sys, Dev, Proc string
	// Queues is the number of I/O queues per connection, at most one per CPU. Zero: 4.
	Queues int
	// ProbeTimeout bounds each question to a target that is asked from user space. Zero: 5 s.
	ProbeTimeout time.Duration
	// DeviceTimeout is how long a connection may be live without a block device before it is made anew.
	// Zero: 20 s.
	DeviceTimeout time.Duration
	// RescanTimeout is how long a namespace may take to show its new size. Zero: 10 s.
	RescanTimeout time.Duration
	// RefusalTime is how long a target must have refused this host by name before a connection is given up for
	// it: whoever has just brought a box's configuration back may be about to mend it. Zero: 30 s.
	RefusalTime time.Duration
	// PollInterval is the time between two looks at sysfs. Zero: 50 ms.
	PollInterval time.Duration

	// Kernel does the system calls. Nil: HostKernel.
	Kernel Kernel
	// Fabrics writes options to the fabrics device and returns its answer. Nil: <Dev>/nvme-fabrics.
	Fabrics func(options string) (answer string, err error)
	// Prober asks targets before the kernel does. Required.
	Prober Prober
	// Logger gets what a caller is not told. Nil: nothing is logged.
	Logger *slog.Logger
}

// Devices connects this node to subsystems.
type Devices struct {
	cfg    Config
	sys    sysfs
	calls  group  // connects, deletes and the like that the kernel has not finished
	resets resets // of connections that were reset for a new size
	// refusals are those of connections that the kernel tries to remake.
	refusals refusals
}

// NewDevices returns Devices. It does nothing until it is used. ErrInvalid: a number is
// negative, or there is no Prober.
func NewDevices(c Config) (*Devices, error) {
	if c.Queues < 0 || c.ProbeTimeout < 0 || c.DeviceTimeout < 0 || c.RescanTimeout < 0 || c.RefusalTime < 0 || c.PollInterval < 0 {
		return nil, fmt.Errorf("configure devices: queues, timeouts and interval cannot be negative: %w", actors.ErrInvalid)
	}
	if c.Prober == nil {
		return nil, fmt.Errorf("configure devices: a prober is required: %w", actors.ErrInvalid)
	}
	c.Sys, c.Dev, c.Proc = cmp.Or(c.Sys, "/sys"), cmp.Or(c.Dev, "/dev"), cmp.Or(c.Proc, "/proc")
	c.Queues = cmp.Or(c.Queues, 4)
	c.ProbeTimeout = cmp.Or(c.ProbeTimeout, 5*time.Second)
	c.DeviceTimeout = cmp.Or(c.DeviceTimeout, 20*time.Second)
	c.RescanTimeout = cmp.Or(c.RescanTimeout, 10*time.Second)
	c.RefusalTime = cmp.Or(c.RefusalTime, 30*time.Second)
	c.PollInterval = cmp.Or(c.PollInterval, 50*time.Millisecond)
	if c.Kernel == nil {
		c.Kernel = HostKernel()
	}
	if c.Fabrics == nil {
		path := filepath.Join(c.Dev, "nvme-fabrics")
		c.Fabrics = func(options string) (string, error) { return connectFabrics(path, options) }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Devices{cfg: c, sys: sysfs{root: c.Sys}}, nil
}

// Connections returns what this node has of subsystems whose NQN names the volume, by NQN. A connect
// that the kernel has not finished counts as connecting: sysfs does not tell its NQN yet.
func (d *Devices) Connections(ctx context.Context, id actors.VolumeID) ([]Connection, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read sysfs: %w: %w", err, actors.ErrUnavailable)
	}
	found, err := d.sys.connections(func(nqn string) bool {
		_, ok := actors.NQNPrefix(nqn, id)
		return ok
	})
	if err != nil {
		return nil, err
	}
	for _, nqn := range d.calls.under(connectCall) {
		if _, ok := actors.NQNPrefix(nqn, id); ok && len(found[nqn].controllers) == 0 {
			sub := found[nqn]
			sub.controllers = []controller{{nqn: nqn, state: StateConnecting}}
			found[nqn] = sub
		}
	}
	var conns []Connection
	for nqn, sub := range found {
		c, ok := connection(nqn, sub)
		if !ok {
			continue
		}
		if c.Device.Path != "" {
			c.Device.Path = filepath.Join(d.cfg.Dev, c.Device.Path)
		}
		conns = append(conns, c)
	}
	slices.SortFunc(conns, func(a, b Connection) int { return strings.Compare(a.NQN, b.NQN) })
	return conns, nil
}

// connection sums up a subsystem. Its device's path is the bare name. It is false of an empty one, which the kernel keeps
// for a while.
func connection(nqn string, sub subsystem) (Connection, bool) {
	c := Connection{NQN: nqn, State: sub.state(), Ambiguous: len(sub.devices) > 1}
	if len(sub.controllers) > 0 {
		c.Host = sub.controllers[0].host
	}
	if len(sub.devices) > 0 {
		c.Device = sub.devices[0]
	}
	return c, len(sub.controllers) > 0 || len(sub.devices) > 0
}

// Live returns how many live controllers this node has under a host NQN, of all volumes. It reads
// sysfs and is 0 where that cannot be read, as without the module nvme-core.
func (d *Devices) Live(hostNQN string) int {
	found, err := d.sys.controllers(func(string) bool { return true })
	if err != nil {
		return 0
	}
	n := 0
	for _, c := range found {
		if c.host == hostNQN && c.state == StateLive {
			n++
		}
	}
	return n
}

// subsystem returns what there is of one NQN.
func (d *Devices) subsystem(nqn string) (subsystem, error) {
	found, err := d.sys.connections(func(s string) bool { return s == nqn })
	return found[nqn], err
}

// onlyDevice returns a subsystem's block device with its full path; ok is false while there is none.
// A volume's subsystem has one namespace.
func (d *Devices) onlyDevice(nqn string, sub subsystem) (dev Device, ok bool, err error) {
	switch len(sub.devices) {
	case 0:
		return Device{}, false, nil
	case 1:
		dev = sub.devices[0]
		dev.Path = filepath.Join(d.cfg.Dev, dev.Path)
		return dev, true, nil
	}
	return Device{}, false, fmt.Errorf("subsystem %s shows %d block devices, which of them is the volume cannot be told: %w", nqn, len(sub.devices), actors.ErrPrecondition)
}
