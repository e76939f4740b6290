// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/rds-csi/rds-csi/actors"
)

// Connect returns the target's block device. A live connection is used as it is, one that is being
// made or being remade is waited for, one that is being deleted is waited out. One that stays live
// without a block device is given up and made anew: the kernel takes a namespace away when its
// identity changed, and never takes another one in its place.
func (d *Devices) Connect(ctx context.Context, t Target) (Device, error) {
	if err := checkTarget(t); err != nil {
		return Device{}, err
	}
	dev, err := d.connected(ctx, t)
	if errors.Is(err, errNoDevice) {
		d.cfg.Logger.WarnContext(ctx, "giving up a connection without a block device", "nqn", t.NQN)
		if err := d.Disconnect(ctx, t.NQN); err != nil {
			return Device{}, err
		}
		dev, err = d.connected(ctx, t)
	}
	if err != nil {
		return Device{}, err
	}
	if dev.Size < t.Size {
		// It may have grown while this node did not listen. It is not reset for that: it may be in use.
		if dev, err = d.rescan(ctx, t.NQN, t.Size); errors.Is(err, errTooSmall) {
			return Device{}, fmt.Errorf("namespace of %s is smaller than the volume, repair the disk's row on the box: %w: %w", t.NQN, errTooSmall, actors.ErrPrecondition)
		} else if err != nil {
			return Device{}, err
		}
	}
	if dev.ReadOnly != t.ReadOnly {
		// Opening a device may wait for its connection.
		err := d.calls.do(ctx, "set read-only of "+dev.Num.String(), func() error { return d.cfg.Kernel.SetReadOnly(dev.Path, t.ReadOnly) })
		if errors.Is(err, actors.ErrUnresolved) {
			return Device{}, err
		}
		if err != nil {
			return Device{}, fmt.Errorf("set read-only=%t of %s: %w: %w", t.ReadOnly, t.NQN, err, actors.ErrUnavailable)
		}
		dev.ReadOnly = t.ReadOnly
	}
	return dev, nil
}

// connected makes the target live and waits for its block device.
func (d *Devices) connected(ctx context.Context, t Target) (Device, error) {
	if err := d.makeLive(ctx, t); err != nil {
		return Device{}, err
	}
	return d.waitDevice(ctx, t.NQN)
}

// askAgain is after how many looks at sysfs the kernel is asked once more for what they do not show.
const askAgain = 20

// makeLive returns once the target's subsystem has a live controller.
func (d *Devices) makeLive(ctx context.Context, t Target) error {
	var last error // why the latest connect failed, of those that may be tried again
	pause := 0     // looks at sysfs before the kernel is asked again
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
		if pause--; pause > 0 {
			return false, nil
		}
		err = d.connect(ctx, t)
		if errors.Is(err, errAlready) {
			last, err, pause = err, nil, askAgain // sysfs will show it
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
	opts := options(t, address.Addr(), d.cfg.Queues)
	err = d.calls.do(ctx, connectCall+t.NQN, func() error {
		answer, err := d.cfg.Fabrics(opts)
		if err != nil {
			return fmt.Errorf("connect %s at %s: %w", t.NQN, address, err)
		}
		d.cfg.Logger.InfoContext(ctx, "connected", "nqn", t.NQN, "address", address, "answer", answer)
		return nil
	})
	switch {
	case errors.Is(err, syscall.EIO):
		return d.explainRefusal(ctx, t, address, err)
	case errors.Is(err, syscall.EINVAL):
		return d.explainInvalid(err)
	}
	return err
}

// connectCall and an NQN are the name of a connect under way.
const connectCall = "connect "

// probe asks whether the target answers, and at which address, which the kernel cannot look up.
func (d *Devices) probe(ctx context.Context, t Target) (netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.ProbeTimeout)
	defer cancel()
	found, err := d.cfg.Prober.Answers(ctx, net.JoinHostPort(t.Address, strconv.Itoa(int(t.Port))))
	if err != nil {
		return found, fmt.Errorf("reach target %s port %d: %w: %w", t.Address, t.Port, err, actors.ErrUnavailable)
	}
	return found, nil
}

// explainRefusal finds out what a connect that failed with EIO means: the kernel answers alike
// to an unknown subsystem and to a host that is not allowed. The target is asked only now, since a
// Connect as this host might end a connection that the host has, and now it has none.
func (d *Devices) explainRefusal(ctx context.Context, t Target, address netip.AddrPort, refusal error) error {
	if sub, err := d.subsystem(t.NQN); err != nil || len(sub.controllers) > 0 {
		return refusal
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.ProbeTimeout)
	defer cancel()
	err := d.cfg.Prober.Admits(ctx, address.String(), t.Host, t.NQN)
	switch {
	case errors.Is(err, ErrHostRefused):
		return fmt.Errorf("connect %s at %s as host %s: the volume is not attached to this node any more, detach and attach it again: %w: %w",
			t.NQN, address, t.Host.NQN, err, actors.ErrPrecondition)
	case errors.Is(err, ErrNotExported): // yet, as while the box starts
		return fmt.Errorf("connect %s at %s: if the box is not just starting, detach and attach the volume again: %w: %w", t.NQN, address, err, actors.ErrUnavailable)
	case err != nil:
		return fmt.Errorf("%w; asked again, the target says: %w", refusal, err)
	}
	return fmt.Errorf("%w; asked again, the target would let it in", refusal)
}

// explainInvalid adds to a connect that failed with EINVAL what the machine shows of its cause.
func (d *Devices) explainInvalid(refusal error) error {
	// The kernel tries to load the module first (Linux, drivers/nvme/host/fabrics.c, nvmf_create_ctrl).
	if _, err := os.Stat(filepath.Join(d.cfg.Sys, "module", "nvme_tcp")); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the kernel module nvme-tcp is not loaded, load it on the node: %w", refusal)
	}
	return refusal
}

// errNoDevice says that a connection stays live without a block device.
var errNoDevice = errors.New("connection is live and shows no block device; its namespace is gone or is another one")

// waitDevice returns the block device of a live subsystem, once it is there under its own number. It
// is errNoDevice if the connection stays live without one.
func (d *Devices) waitDevice(ctx context.Context, nqn string) (Device, error) {
	var dev Device
	var last error
	without := 0 // looks at a live connection without a block device
	err := poll(ctx, d.cfg.PollInterval, func() (bool, error) {
		sub, err := d.subsystem(nqn)
		if err != nil {
			return false, err
		}
		found, ok, err := d.onlyDevice(nqn, sub)
		if err != nil {
			return false, err
		}
		if ok {
			dev = found
			last = checkNode(d.cfg.Kernel, found)
			return last == nil, nil
		}
		last = fmt.Errorf("no block device, connection is %s", sub.state())
		if sub.state() != StateLive {
			return false, nil
		}
		without++
		switch {
		case without > int(d.cfg.DeviceTimeout/d.cfg.PollInterval):
			return false, fmt.Errorf("wait for the block device of %s: %w: %w", nqn, errNoDevice, actors.ErrUnavailable)
		case without%askAgain == 0: // it may have come without an event
			return false, d.scan(ctx, sub)
		}
		return false, nil
	})
	if err != nil && ctx.Err() != nil && !errors.Is(err, actors.ErrUnresolved) {
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
