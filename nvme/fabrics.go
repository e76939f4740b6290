// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/rds-csi/rds-csi/actors"
)

// options returns what is written to the fabrics device to connect a target at an address (Linux,
// drivers/nvme/host/fabrics.c, opt_tokens). Neither host_traddr nor duplicate_connect is ever in it:
// both defeat the kernel's own detection of duplicates.
func options(t Target, address netip.Addr, queues int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "transport=tcp,traddr=%s,trsvcid=%d,nqn=%s,hostnqn=%s,hostid=%s", address, t.Port, t.NQN, t.Host.NQN, t.Host.ID)
	fmt.Fprintf(&b, ",nr_io_queues=%d,ctrl_loss_tmo=%d", queues, max(t.CtrlLossTimeout, -1))
	if t.ReconnectDelay > 0 {
		fmt.Fprintf(&b, ",reconnect_delay=%d", t.ReconnectDelay)
	}
	if t.KeepAlive > 0 { // 0 would switch keep-alives off
		fmt.Fprintf(&b, ",keep_alive_tmo=%d", t.KeepAlive)
	}
	return b.String()
}

// checkTarget reports ErrInvalid for a target whose parts would change the meaning of the options.
func checkTarget(t Target) error {
	for what, s := range map[string]string{"NQN": t.NQN, "address": t.Address, "host NQN": t.Host.NQN, "host ID": t.Host.ID} {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' }) {
			return fmt.Errorf("%s %.256q of the target is empty or has a comma, a space or a character outside of ASCII: %w", what, s, actors.ErrInvalid)
		}
	}
	if t.Port == 0 {
		return fmt.Errorf("port of the target is 0: %w", actors.ErrInvalid)
	}
	return nil
}

// errAlready is the kernel's answer to a connect that exists.
var errAlready = errors.New("connected already")

// connectFabrics writes options to the fabrics device and reads the answer, such as
// "instance=0,cntlid=1". It takes up to 62 s and cannot be interrupted.
func connectFabrics(path, options string) (answer string, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("open the fabrics device, load the kernel module nvme-tcp and run privileged: %w: %w", err, actors.ErrPrecondition)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("look at the fabrics device: %w: %w", err, actors.ErrPrecondition)
	}
	if info.Mode().Type() != fs.ModeDevice|fs.ModeCharDevice {
		return "", fmt.Errorf("%s is not a character device, mount the host's /dev: %w", path, actors.ErrPrecondition)
	}
	if _, err := f.WriteString(options); err != nil {
		return "", connectError(err)
	}
	buf := make([]byte, 256)
	n, err := f.Read(buf)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the answer of the fabrics device: %w: %w", err, actors.ErrUnresolved)
	}
	return strings.TrimSpace(string(buf[:n])), nil
}

// connectError gives a failed connect its kind. The errno says little: a bad NQN and a host that is
// not allowed are both EIO.
func connectError(err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return fmt.Errorf("connect: %w: %w", err, actors.ErrUnavailable)
	}
	switch errno {
	case syscall.EALREADY:
		return fmt.Errorf("connect: %w: %w", errAlready, actors.ErrUnavailable)
	case syscall.EINVAL:
		return fmt.Errorf("connect: the kernel refused an option; has this host ID another host NQN in use, as with another cluster ID or another driver?: %w: %w", err, actors.ErrPrecondition)
	case syscall.EPERM, syscall.EACCES:
		return fmt.Errorf("connect: run privileged: %w: %w", err, actors.ErrPrecondition)
	case syscall.EIO:
		return fmt.Errorf("connect: the target refused; it does not export the subsystem, or does not allow this host: %w: %w", err, actors.ErrUnavailable)
	case syscall.ECONNREFUSED, syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ECONNRESET:
		return fmt.Errorf("connect: the target cannot be reached: %w: %w", err, actors.ErrUnavailable)
	}
	return fmt.Errorf("connect: %w: %w", err, actors.ErrUnavailable)
}
