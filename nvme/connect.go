// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/rds-csi/rds-csi/actors"
)

// Connect returns the target's block device. A live connection is used as it is, one that is being
// made or being remade is waited for, one that is being deleted is waited out.
func (d *Devices) Connect(ctx context.Context, t Target) (Device, error) {
	if err := checkTarget(t); err != nil {
		return Device{}, err
	}
	if err := d.makeLive(ctx, t); err != nil {
		return Device{}, err
	}
	dev, err := d.waitDevice(ctx, t.NQN)
	if err != nil {
		return Device{}, err
	}
	if dev.Size < t.Size {
		// It may have grown while this node did not listen.
		if dev, err = d.Rescan(ctx, t.NQN, t.Size); errors.Is(err, errTooSmall) {
			return Device{}, fmt.Errorf("namespace of %s is smaller than the volume, repair the disk's row on the box: %w: %w", t.NQN, errTooSmall, actors.ErrPrecondition)
		} else if err != nil {
			return Device{}, err
		}
	}
	if dev.ReadOnly != t.ReadOnly {
		if err := d.cfg.Kernel.SetReadOnly(dev.Path, t.ReadOnly); err != nil {
			return Device{}, fmt.Errorf("set read-only=%t of %s: %w: %w", t.ReadOnly, t.NQN, err, actors.ErrUnavailable)
		}
		dev.ReadOnly = t.ReadOnly
	}
	return dev, nil
}

// makeLive returns once the target's subsystem has a live controller.
func (d *Devices) makeLive(ctx context.Context, t Target) error {
	var last error // why the latest connect failed, of those that may be tried again
	err := poll(ctx, d.cfg.PollInterval, func() (bool, error) {
		sub, err := d.subsystem(t.NQN)
		if err != nil {
			return false, err
		}
		switch sub.state() {
		case StateLive:
			d.warnHost(ctx, t, sub)
			return true, nil
		case StateConnecting, StateDeleting, StateDead:
			last = fmt.Errorf("connection of %s is %s", t.NQN, sub.state())
			return false, nil
		}
		err = d.connect(ctx, t)
		if errors.Is(err, errAlready) {
			last, err = err, nil // sysfs will show it
		}
		return false, err
	})
	if err != nil && last != nil && ctx.Err() != nil {
		return fmt.Errorf("wait for %s: %w: %w: %w", t.NQN, last, context.Cause(ctx), actors.ErrUnavailable)
	}
	if err != nil && ctx.Err() != nil && !errors.Is(err, actors.ErrUnresolved) {
		return fmt.Errorf("connect %s: %w: %w", t.NQN, context.Cause(ctx), actors.ErrUnavailable)
	}
	return err
}

// warnHost tells when a connection in use was made under another identity than the volume is
// published for, as by the older driver: it works until it must be remade.
func (d *Devices) warnHost(ctx context.Context, t Target, sub subsystem) {
	for _, c := range sub.controllers {
		if c.host != t.Host.NQN {
			d.cfg.Logger.WarnContext(ctx, "using a connection that was made under another host NQN",
				"controller", c.name, "nqn", t.NQN, "host-nqn", c.host, "wanted-host-nqn", t.Host.NQN)
		}
	}
}

// connect asks the kernel for a connection, after a probe that costs little where the target is
// away: one connect to a frozen target blocks all others on the node for a minute.
func (d *Devices) connect(ctx context.Context, t Target) error {
	address, err := d.probe(ctx, t)
	if err != nil {
		return err
	}
	opts := options(t, address, d.cfg.Queues)
	return d.calls.do(ctx, "connect "+t.NQN, func() error {
		answer, err := d.cfg.Fabrics(opts)
		if err != nil {
			return fmt.Errorf("connect %s at %s port %d: %w", t.NQN, address, t.Port, err)
		}
		d.cfg.Logger.InfoContext(ctx, "connected", "nqn", t.NQN, "address", address, "port", t.Port, "answer", answer)
		return nil
	})
}

// probe connects to the target by TCP and returns its address, which the kernel cannot look up.
func (d *Devices) probe(ctx context.Context, t Target) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.ProbeTimeout)
	defer cancel()
	conn, err := d.cfg.Dial(ctx, "tcp", net.JoinHostPort(t.Address, strconv.Itoa(int(t.Port))))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("reach target %s port %d: %w: %w", t.Address, t.Port, err, actors.ErrUnavailable)
	}
	remote := conn.RemoteAddr().String()
	if err := conn.Close(); err != nil {
		d.cfg.Logger.DebugContext(ctx, "closing the probe failed", "error", err)
	}
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("look up target %s: %w: %w", t.Address, err, actors.ErrUnavailable)
	}
	return at.Addr().Unmap(), nil
}

// waitDevice returns the block device of a live subsystem, once it is there under its own number.
func (d *Devices) waitDevice(ctx context.Context, nqn string) (Device, error) {
	var dev Device
	var last error
	err := poll(ctx, d.cfg.PollInterval, func() (bool, error) {
		sub, err := d.subsystem(nqn)
		if err != nil {
			return false, err
		}
		found, ok, err := d.onlyDevice(nqn, sub)
		if err != nil {
			return false, err
		}
		if last = fmt.Errorf("no block device, connection is %s", sub.state()); !ok {
			return false, nil
		}
		dev = found
		last = checkNode(d.cfg.Kernel, found)
		return last == nil, nil
	})
	if err != nil && ctx.Err() != nil {
		return Device{}, fmt.Errorf("wait for the block device of %s: %w: %w: %w", nqn, last, context.Cause(ctx), actors.ErrUnavailable)
	}
	return dev, err
}

// checkNode reports whether a device's path leads to its number.
func checkNode(k Kernel, dev Device) error {
	_, num, err := k.Stat(dev.Path, false)
	if err != nil {
		return fmt.Errorf("find device %s, mount the host's /dev: %w", dev.Num, err)
	}
	if num != dev.Num {
		return fmt.Errorf("%s is device %s and not %s, mount the host's /dev", dev.Path, num, dev.Num)
	}
	return nil
}

// errTooSmall says that a namespace still has fewer bytes than it should.
var errTooSmall = errors.New("size stayed smaller")

// Rescan makes the kernel read the namespace again and returns the device once it has at least size
// bytes.
func (d *Devices) Rescan(ctx context.Context, nqn string, size int64) (Device, error) {
	sub, err := d.subsystem(nqn)
	if err != nil {
		return Device{}, err
	}
	if len(sub.controllers) == 0 {
		return Device{}, fmt.Errorf("subsystem %s is not connected: %w", nqn, actors.ErrNotFound)
	}
	if sub.state() != StateLive {
		return Device{}, fmt.Errorf("connection of %s is %s, its size cannot be read: %w", nqn, sub.state(), actors.ErrUnavailable)
	}
	for _, c := range sub.controllers {
		if c.state != StateLive {
			continue
		}
		err := d.calls.do(ctx, "rescan "+c.name, func() error { return d.writeAttr(c, "rescan_controller") })
		if err != nil {
			return Device{}, err
		}
	}
	var dev Device
	wait, cancel := context.WithTimeout(ctx, d.cfg.RescanTimeout)
	defer cancel()
	err = poll(wait, d.cfg.PollInterval, func() (bool, error) {
		if sub, err = d.subsystem(nqn); err != nil {
			return false, err
		}
		var ok bool
		dev, ok, err = d.onlyDevice(nqn, sub)
		return ok && dev.Size >= size, err
	})
	if err != nil && wait.Err() != nil {
		return Device{}, fmt.Errorf("rescan %s: %w: %d bytes, expected %d: %w", nqn, errTooSmall, dev.Size, size, actors.ErrUnavailable)
	}
	return dev, err
}

// writeAttr writes 1 to a controller's attribute. The name may be another controller's by now: the
// file is opened first, so that it stays the one that was asked, and then the NQN is compared.
func (d *Devices) writeAttr(c controller, attr string) (err error) {
	f, err := os.OpenFile(filepath.Join(d.cfg.Sys, "class", "nvme", c.name, attr), os.O_WRONLY, 0)
	if vanished(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s of %s: %w: %w", attr, c.name, err, actors.ErrUnavailable)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	nqn, ok, err := d.sys.attr("class", "nvme", c.name, "subsysnqn")
	if err != nil || !ok || nqn != c.nqn {
		return err // gone, and perhaps another's: nothing to do
	}
	if _, err := f.WriteString("1"); err != nil && !vanished(err) {
		return fmt.Errorf("write %s of %s: %w: %w", attr, c.name, err, actors.ErrUnavailable)
	}
	return nil
}
