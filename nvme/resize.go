// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rds-csi/rds-csi/actors"
)

// errTooSmall says that a namespace still has fewer bytes than it should.
var errTooSmall = errors.New("size stayed smaller")

// Rescan makes the kernel read the namespace again and returns the device once it has at least size
// bytes. A target that tells an existing connection nothing of a new size makes it reset the
// connection, where nothing can be lost by that.
//
// A reset costs time and no I/O: in the states resetting and connecting the kernel cancels the
// commands in flight in order to issue them again and holds new ones back (Linux,
// drivers/nvme/host: tcp.c, nvme_reset_ctrl_work; core.c, nvme_fail_nonready_command; multipath.c,
// nvme_available_path). It is not done where that does not hold: with fast_io_fail_tmo, after which
// I/O fails, and where the target would refuse the host, for a refusal with "do not retry" ends
// the controller for good from Linux 6.10 on.
func (d *Devices) Rescan(ctx context.Context, nqn string, size int64) (Device, error) {
	dev, err := d.rescan(ctx, nqn, size)
	if !errors.Is(err, errTooSmall) || ctx.Err() != nil {
		return dev, err
	}
	if no := d.reset(ctx, nqn, size); errors.Is(no, actors.ErrUnresolved) {
		return Device{}, no
	} else if no != nil {
		return Device{}, fmt.Errorf("%w; the connection is not reset: %w", err, no)
	}
	return d.waitSize(ctx, nqn, size)
}

// rescan makes all live controllers of a subsystem look for changes of their namespaces, and waits
// for a size.
func (d *Devices) rescan(ctx context.Context, nqn string, size int64) (Device, error) {
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
	if err := d.scan(ctx, sub); err != nil {
		return Device{}, err
	}
	return d.waitSize(ctx, nqn, size)
}

// scan makes the live controllers of a subsystem look for their namespaces.
func (d *Devices) scan(ctx context.Context, sub subsystem) error {
	for _, c := range sub.controllers {
		if c.state != StateLive {
			continue
		}
		if err := d.calls.do(ctx, "rescan "+c.name, func() error { return d.writeAttr(c, "rescan_controller") }); err != nil {
			return err
		}
	}
	return nil
}

// waitSize returns a subsystem's device once it has at least size bytes.
func (d *Devices) waitSize(ctx context.Context, nqn string, size int64) (Device, error) {
	var dev Device
	var sub subsystem
	wait, cancel := context.WithTimeout(ctx, d.cfg.RescanTimeout)
	defer cancel()
	err := poll(wait, d.cfg.PollInterval, func() (ok bool, err error) {
		if sub, err = d.subsystem(nqn); err != nil {
			return false, err
		}
		dev, ok, err = d.onlyDevice(nqn, sub)
		return ok && dev.Size >= size, err
	})
	if err != nil && wait.Err() != nil {
		return Device{}, fmt.Errorf("rescan %s: %w: %d bytes, expected %d, connection is %s: %w", nqn, errTooSmall, dev.Size, size, sub.state(), actors.ErrUnavailable)
	}
	return dev, err
}

// resetPause is the least time between two resets of a connection for the same size: I/O waits
// during each, and one that changed nothing is not likely to be followed by one that does.
const resetPause = 10 * time.Minute

// resets remembers when which connection was reset for which size. Its zero value is ready.
type resets struct {
	mu   sync.Mutex
	last map[string]reset // by NQN
}

type reset struct {
	size int64
	at   time.Time
}

// begin reports whether a connection may be reset, and remembers that it is.
func (r *resets) begin(nqn string, size int64, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.last, func(_ string, l reset) bool { return now.Sub(l.at) >= resetPause })
	if l, ok := r.last[nqn]; ok && l.size >= size {
		return false
	}
	if r.last == nil {
		r.last = make(map[string]reset)
	}
	r.last[nqn] = reset{size: size, at: now}
	return true
}

// reset makes the controllers of a subsystem reconnect, one after the other, or says why that is not
// done.
func (d *Devices) reset(ctx context.Context, nqn string, size int64) error {
	sub, err := d.subsystem(nqn)
	if err != nil {
		return err
	}
	for _, c := range sub.controllers {
		if err := d.checkReset(ctx, c); err != nil {
			return fmt.Errorf("%s: %w: %w", c.name, err, actors.ErrUnavailable)
		}
	}
	if !d.resets.begin(nqn, size, time.Now()) {
		return fmt.Errorf("it was less than %v ago and did not help; does the box show the new size?: %w", resetPause, actors.ErrUnavailable)
	}
	for _, c := range sub.controllers {
		d.cfg.Logger.InfoContext(ctx, "resetting a connection so that it shows the volume's new size", "controller", c.name, "nqn", nqn, "size", size)
		// The kernel answers when it has reconnected, or failed to.
		if err := d.calls.do(ctx, "reset "+c.name, func() error { return d.writeAttr(c, "reset_controller") }); err != nil {
			return err
		}
	}
	return nil
}

// checkReset returns why I/O might be lost if a controller were reset.
func (d *Devices) checkReset(ctx context.Context, c controller) error {
	if c.state != StateLive {
		return fmt.Errorf("it is %s", c.state)
	}
	// Before Linux 5.11 there is no such thing.
	failFast, ok, err := d.sys.attr("class", "nvme", c.name, "fast_io_fail_tmo")
	if err != nil {
		return err
	}
	if ok && failFast != "off" {
		return fmt.Errorf("its fast_io_fail_tmo is %.32q, and I/O that waits longer would fail", failFast)
	}
	text, _, err := d.sys.attr("class", "nvme", c.name, "address")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.ProbeTimeout)
	defer cancel()
	listed, err := d.cfg.Prober.Lists(ctx, addressOf(text), c.host)
	if err != nil {
		return fmt.Errorf("whether the target would take it back cannot be told: %w", err)
	}
	if !slices.Contains(listed, c.nqn) {
		return errors.New("the target does not list the subsystem for this host, and might not take it back")
	}
	return nil
}

// addressOf returns host:port from a controller's address attribute, such as
// "traddr=192.0.2.1,trsvcid=4420,src_addr=192.0.2.9".
func addressOf(text string) string {
	parts := make(map[string]string)
	for part := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(part, "=")
		parts[key] = value
	}
	return net.JoinHostPort(parts["traddr"], parts["trsvcid"])
}
