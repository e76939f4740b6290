// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

var (
	anyName    = regexp.MustCompile(`.`)
	loopForm   = regexp.MustCompile(`^loop[0-9]+$`)
	numberForm = regexp.MustCompile(`^[0-9]+$`)
)

// An inUseError tells in words who uses a device.
type inUseError []string

func (e inUseError) Error() string { return strings.Join(e, ", ") }

// checkUnused is an inUseError if something uses a device or a partition of it: mounts, device
// drivers, loop devices and processes that have it open. This process does not count.
func (d *Devices) checkUnused(dev Device) error {
	nums, err := d.withPartitions(dev)
	if err != nil {
		return err
	}
	var users inUseError
	for _, look := range []func([]DevNum) ([]string, error){d.mounters, d.drivers, d.loops, d.openers} {
		found, err := look(nums)
		if err != nil {
			return err
		}
		users = append(users, found...)
	}
	if len(users) > 0 {
		return users
	}
	return d.claim(dev)
}

// claim tries to hold the device alone, which fails while it is mounted in whatever name space.
func (d *Devices) claim(dev Device) error {
	dev.Path = filepath.Join(d.cfg.Dev, filepath.Base(dev.Path))
	err := checkNode(d.cfg.Kernel, dev)
	if err == nil {
		err = d.cfg.Kernel.Claim(dev.Path)
	}
	switch {
	case err == nil, !d.sys.present(dev.Num): // nobody can use what is gone
		return nil
	case errors.Is(err, syscall.EBUSY):
		return inUseError{"held exclusively by the kernel, as if mounted where this process cannot see it"}
	}
	return fmt.Errorf("claim the device: %w", err)
}

// withPartitions returns the numbers of a device and its partitions: the kernel finds the partition
// table of a VM's disk too.
func (d *Devices) withPartitions(dev Device) ([]DevNum, error) {
	nums := []DevNum{dev.Num}
	names, err := d.sys.entries(regexp.MustCompile(`^`+regexp.QuoteMeta(filepath.Base(dev.Path))+`p[0-9]+$`), "dev", "block", dev.Num.String())
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, ok, err := d.sys.attr("dev", "block", dev.Num.String(), name, "dev")
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		num, err := parseDevNum(text)
		if err != nil {
			return nil, err
		}
		nums = append(nums, num)
	}
	return nums, nil
}

// mounters looks at this process's mounts and, where it is shown, at those of the host.
func (d *Devices) mounters(nums []DevNum) ([]string, error) {
	var users []string
	for _, pid := range []string{"self", "1"} {
		mounts, err := readMounts(filepath.Join(d.cfg.Proc, pid, "mountinfo"))
		if errors.Is(err, fs.ErrNotExist) && pid != "self" {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, m := range mounts {
			user := "mounted at " + m.path
			if slices.Contains(nums, m.num) && !slices.Contains(users, user) {
				users = append(users, user)
			}
		}
	}
	return users, nil
}

// drivers looks for device mapper, md and the like.
func (d *Devices) drivers(nums []DevNum) ([]string, error) {
	var users []string
	for _, num := range nums {
		names, err := d.sys.entries(anyName, "dev", "block", num.String(), "holders")
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			users = append(users, "held by "+name)
		}
	}
	return users, nil
}

// loops looks for loop devices on top, such as kubelet makes of a published block volume.
func (d *Devices) loops(nums []DevNum) ([]string, error) {
	names, err := d.sys.entries(loopForm, "block")
	if err != nil {
		return nil, err
	}
	var users []string
	for _, name := range names {
		path, ok, err := d.sys.attr("block", name, "loop", "backing_file")
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		// The path is as its maker saw it; where it leads nowhere it is not a device node of ours.
		if _, num, err := d.cfg.Kernel.Stat(path, true); err == nil && slices.Contains(nums, num) {
			users = append(users, "behind "+name)
		}
	}
	return users, nil
}

// openers looks for processes that have the device open, as a VM's has.
func (d *Devices) openers(nums []DevNum) ([]string, error) {
	pids, err := os.ReadDir(d.cfg.Proc)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	self := strconv.Itoa(os.Getpid())
	var users []string
	for _, pid := range pids {
		if !numberForm.MatchString(pid.Name()) || pid.Name() == self {
			continue
		}
		dir := filepath.Join(d.cfg.Proc, pid.Name(), "fd")
		fds, err := os.ReadDir(dir)
		if vanished(err) || errors.Is(err, syscall.ESRCH) {
			continue // the process ended
		}
		if err != nil {
			return nil, fmt.Errorf("list open files of process %s: %w", pid.Name(), err)
		}
		if slices.ContainsFunc(fds, func(fd fs.DirEntry) bool { return d.isOpen(filepath.Join(dir, fd.Name()), nums) }) {
			users = append(users, "open in process "+pid.Name())
		}
	}
	return users, nil
}

// isOpen reports whether a link in a process's fd directory leads to one of the devices. Links that
// cannot are not followed: that would ask a network filesystem that may hang.
func (d *Devices) isOpen(link string, nums []DevNum) bool {
	text, err := os.Readlink(link)
	if err != nil || !strings.HasPrefix(text, "/") {
		return false // closed by now, or a socket, a pipe and the like
	}
	_, num, err := d.cfg.Kernel.Stat(link, true)
	return err == nil && slices.Contains(nums, num)
}
