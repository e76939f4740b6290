// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rds-csi/rds-csi/e2e/guest/api"
)

// mountAll mounts what every Linux system has mounted.
func mountAll() error {
	for _, m := range []struct{ kind, path string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/run"}, {"tmpfs", "/tmp"}, {"tmpfs", "/var"},
	} {
		if err := os.MkdirAll(m.path, 0o755); err != nil {
			return err
		}
		// The kernel may have mounted /dev by itself.
		if err := unix.Mount(m.kind, m.path, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.path, err)
		}
	}
	return os.MkdirAll("/var/log", 0o755)
}

// loadModules loads the modules that a file lists, one path in each line.
func loadModules(order string) error {
	text, err := os.ReadFile(order)
	if err != nil {
		return err
	}
	for path := range strings.FieldsSeq(string(text)) {
		if err := loadModule(path); err != nil {
			return err
		}
	}
	return nil
}

func loadModule(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	// One that makes something faster may find that this machine has not got what it needs.
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load module %s: %w", filepath.Base(path), err)
	}
	return nil
}

// unloadModule takes a module that nothing uses out of the kernel.
func unloadModule(_ context.Context, m api.Module) (nothing, error) {
	if err := unix.DeleteModule(m.Name, unix.O_NONBLOCK); err != nil {
		return nothing{}, fmt.Errorf("unload module %s: %w", m.Name, err)
	}
	return nothing{}, nil
}

// setSysctl sets a parameter of the kernel by its path below /proc/sys.
func setSysctl(path, value string) error {
	if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set a parameter of the kernel: %w", err)
	}
	return nil
}

// kernelLog reads what the kernel keeps of its messages (syslog(2)).
func kernelLog(context.Context, nothing) (api.Content, error) {
	size, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
	if err != nil {
		return api.Content{}, fmt.Errorf("ask for the size of the kernel's log: %w", err)
	}
	data := make([]byte, size)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, data)
	if err != nil {
		return api.Content{}, fmt.Errorf("read the kernel's log: %w", err)
	}
	return api.Content{Data: data[:n]}, nil
}
