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
	"strconv"
	"strings"
	"syscall"

	"github.com/rds-csi/rds-csi/actors"
)

// sysfs reads the kernel's view of NVMe below a root, usually /sys. Everything in it may vanish
// between two reads: what vanished is as if it had not been there.
type sysfs struct{ root string }

// A controller is one entry of class/nvme.
type controller struct {
	name  string // nvme3
	nqn   string
	host  string // host NQN
	state State
}

var (
	controllerForm = regexp.MustCompile(`^nvme[0-9]+$`)
	// namespaceForm leaves out nvme0c1n1, the hidden path devices of the multipath layout.
	namespaceForm = regexp.MustCompile(`^nvme[0-9]+n[0-9]+$`)
)

// vanished reports whether an error says that a file is not there, or is being taken away.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENXIO)
}

// attr returns the text of an attribute; ok is false where there is none.
func (s sysfs) attr(path ...string) (text string, ok bool, err error) {
	data, err := os.ReadFile(filepath.Join(append([]string{s.root}, path...)...))
	if vanished(err) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read sysfs: %w: %w", err, actors.ErrUnavailable)
	}
	return strings.TrimSpace(string(data)), true, nil
}

// entries returns the names in a directory that have a form. A directory that is not there is empty.
func (s sysfs) entries(form *regexp.Regexp, path ...string) ([]string, error) {
	list, err := os.ReadDir(filepath.Join(append([]string{s.root}, path...)...))
	if vanished(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list sysfs: %w: %w", err, actors.ErrUnavailable)
	}
	var names []string
	for _, e := range list {
		if form.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// controllers returns the controllers whose subsystem NQN is wanted.
func (s sysfs) controllers(want func(nqn string) bool) ([]controller, error) {
	names, err := s.entries(controllerForm, "class", "nvme")
	if err != nil {
		return nil, err
	}
	var found []controller
	for _, name := range names {
		c := controller{name: name}
		nqn, ok, err := s.attr("class", "nvme", name, "subsysnqn")
		if err != nil {
			return nil, err
		}
		if c.nqn = nqn; !ok || !want(nqn) {
			continue
		}
		state, ok, err := s.attr("class", "nvme", name, "state")
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if c.host, _, err = s.attr("class", "nvme", name, "hostnqn"); err != nil {
			return nil, err
		}
		c.state = parseState(state)
		found = append(found, c)
	}
	return found, nil
}

// parseState reduces the kernel's states (drivers/nvme/host/core.c, nvme_sysfs_show_state) to those
// that matter. One that is not known counts as connecting: it is neither usable nor gone.
func parseState(s string) State {
	switch s {
	case "live":
		return StateLive
	case "deleting", "deleting (no IO)":
		return StateDeleting
	case "dead":
		return StateDead
	}
	return StateConnecting
}

// subsystems returns the names in class/nvme-subsystem by NQN, of those that are wanted.
func (s sysfs) subsystems(want func(nqn string) bool) (map[string][]string, error) {
	names, err := s.entries(regexp.MustCompile(`^nvme-subsys[0-9]+$`), "class", "nvme-subsystem")
	if err != nil {
		return nil, err
	}
	found := make(map[string][]string)
	for _, name := range names {
		nqn, ok, err := s.attr("class", "nvme-subsystem", name, "subsysnqn")
		if err != nil {
			return nil, err
		}
		if ok && want(nqn) {
			found[nqn] = append(found[nqn], name)
		}
	}
	return found, nil
}

// devices returns the block devices of a subsystem. With multipath they are below the subsystem,
// without it below its controllers.
func (s sysfs) devices(subsystems []string, controllers []controller) ([]Device, error) {
	var parents [][]string
	for _, name := range subsystems {
		parents = append(parents, []string{"class", "nvme-subsystem", name})
	}
	for _, c := range controllers {
		parents = append(parents, []string{"class", "nvme", c.name})
	}
	var found []Device
	for _, parent := range parents {
		names, err := s.entries(namespaceForm, parent...)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			dev, ok, err := s.device(append(parent, name)...)
			if err != nil {
				return nil, err
			}
			if ok {
				found = append(found, dev)
			}
		}
	}
	return found, nil
}

// device reads one block device. Its Path is the bare name. ok is false while it has no number or
// no size, as when it is just coming or going, and for a hidden one.
func (s sysfs) device(path ...string) (dev Device, ok bool, err error) {
	dev.Path = path[len(path)-1]
	hidden, _, err := s.attr(append(path, "hidden")...)
	if err != nil || hidden == "1" {
		return Device{}, false, err
	}
	num, ok, err := s.attr(append(path, "dev")...)
	if err != nil || !ok {
		return Device{}, false, err
	}
	if dev.Num, err = parseDevNum(num); err != nil {
		return Device{}, false, err
	}
	sectors, ok, err := s.attr(append(path, "size")...)
	if err != nil || !ok {
		return Device{}, false, err
	}
	count, err := strconv.ParseInt(sectors, 10, 64)
	if err != nil || count < 0 || count > 1<<54 {
		return Device{}, false, fmt.Errorf("size %.32q of %s is not a number of sectors: %w", sectors, dev.Path, actors.ErrUnavailable)
	}
	dev.Size = count * 512
	ro, _, err := s.attr(append(path, "ro")...)
	dev.ReadOnly = ro == "1"
	return dev, dev.Size > 0, err
}

func parseDevNum(s string) (DevNum, error) {
	major, minor, _ := strings.Cut(s, ":")
	ma, err1 := strconv.ParseUint(major, 10, 32)
	mi, err2 := strconv.ParseUint(minor, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return DevNum{}, fmt.Errorf("device number %.32q: %w: %w", s, err, actors.ErrUnavailable)
	}
	return DevNum{Major: uint32(ma), Minor: uint32(mi)}, nil
}

// connections sums up what there is of the wanted subsystems, by NQN.
func (s sysfs) connections(want func(nqn string) bool) (map[string]subsystem, error) {
	controllers, err := s.controllers(want)
	if err != nil {
		return nil, err
	}
	names, err := s.subsystems(want)
	if err != nil {
		return nil, err
	}
	found := make(map[string]subsystem)
	for nqn := range names {
		found[nqn] = subsystem{}
	}
	for _, c := range controllers {
		sub := found[c.nqn]
		sub.controllers = append(sub.controllers, c)
		found[c.nqn] = sub
	}
	for nqn, sub := range found {
		if sub.devices, err = s.devices(names[nqn], sub.controllers); err != nil {
			return nil, err
		}
		found[nqn] = sub
	}
	return found, nil
}

// A subsystem is all that the kernel has under one NQN.
type subsystem struct {
	controllers []controller
	devices     []Device
}

// rank orders states, best first.
func rank(s State) int {
	switch s {
	case StateLive:
		return 0
	case StateConnecting:
		return 1
	case StateDeleting:
		return 2
	case StateDead:
		return 3
	}
	return 4
}

// state returns the best of the controllers' states.
func (s subsystem) state() State {
	best := StateGone
	for _, c := range s.controllers {
		if rank(c.state) < rank(best) {
			best = c.state
		}
	}
	return best
}

// live reports whether the block device with a number belongs to a subsystem with a live
// controller, and returns the device as it is now.
func (s sysfs) live(num DevNum) (Device, bool, error) {
	all, err := s.connections(func(string) bool { return true })
	if err != nil {
		return Device{}, false, err
	}
	for _, sub := range all {
		for _, dev := range sub.devices {
			if dev.Num == num {
				return dev, sub.state() == StateLive, nil
			}
		}
	}
	return Device{}, false, nil
}

// present reports whether a block device exists.
func (s sysfs) present(num DevNum) bool {
	_, err := os.Stat(filepath.Join(s.root, "dev", "block", num.String()))
	return err == nil
}
