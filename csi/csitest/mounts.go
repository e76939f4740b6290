// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csitest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

// Inspect returns what is at a path.
func (n *Node) Inspect(_ context.Context, path string) (nvme.Entry, error) {
	if err := n.begin("Inspect", path); err != nil {
		return nvme.Entry{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.inspect(path)
}

func (n *Node) inspect(path string) (nvme.Entry, error) {
	info, err := lookup(path)
	if err != nil {
		return nvme.Entry{}, fmt.Errorf("look at %s: %w", path, err)
	}
	if info == nil {
		delete(n.nodes, path)
		return nvme.Entry{}, nil
	}
	entry := nvme.Entry{Kind: nvme.KindOther}
	if node, ok := n.nodes[path]; ok {
		entry = nvme.Entry{Kind: nvme.KindBlock, Num: node.num, ReadOnly: node.readOnly, Stale: !n.present(node.num)}
	} else if info.IsDir() {
		entry.Kind = nvme.KindDir
	}
	if stack := n.mounts[path]; len(stack) > 0 {
		top := stack[len(stack)-1]
		entry.Mounted, entry.Num, entry.ReadOnly, entry.Stale = true, top.num, top.readOnly, !n.present(top.num)
		entry.Failed = n.failed[top.num]
	}
	return entry, nil
}

// Mount mounts a device, and remembers the filesystem that it made on a blank one.
func (n *Node) Mount(_ context.Context, dev nvme.Device, path string, fs nvme.Filesystem) error {
	if err := n.begin("Mount", path); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	entry, err := n.inspect(path)
	if err != nil {
		return err
	}
	if entry.Kind != nvme.KindDir {
		return fmt.Errorf("%s is not a directory: %w", path, actors.ErrPrecondition)
	}
	nqn := n.nqn(dev.Num)
	switch have := n.format[volume(nqn)]; {
	case nqn == "":
		return fmt.Errorf("no device %s: %w", dev.Num, actors.ErrUnavailable)
	case have == "" && fs.ReadOnly:
		return fmt.Errorf("%s is blank and read-only: %w", nqn, actors.ErrPrecondition)
	case have == "", have == halfFormatted && fs.Unfinished:
		if err := n.makeFilesystem(nqn, fs); err != nil {
			return err
		}
	case have != fs.Type:
		return fmt.Errorf("%s holds %s, not %s: %w", nqn, have, fs.Type, actors.ErrPrecondition)
	}
	n.did("Mount", path)
	n.mounts[path] = append(n.mounts[path], mount{num: dev.Num, readOnly: fs.ReadOnly})
	return nil
}

// halfFormatted is what a device holds whose formatting failed.
const halfFormatted = "half a filesystem"

// makeFilesystem formats a device. A fault in Format leaves it half formatted.
func (n *Node) makeFilesystem(nqn string, fs nvme.Filesystem) error {
	if fs.Begin != nil {
		if err := fs.Begin(); err != nil {
			return fmt.Errorf("begin to format: %w", err)
		}
	}
	n.did("Format", nqn)
	if err := n.begin("Format", nqn); err != nil {
		n.format[volume(nqn)] = halfFormatted
		return err
	}
	n.format[volume(nqn)] = fs.Type
	return nil
}

// nqn returns the NQN of the connection that a device number belongs to.
func (n *Node) nqn(num nvme.DevNum) string {
	for nqn, c := range n.conns {
		if c.Device.Path != "" && c.Device.Num == num {
			return nqn
		}
	}
	return ""
}

// Bind mounts what is mounted at source on target as well.
func (n *Node) Bind(_ context.Context, source, target string, readOnly bool) error {
	if err := n.begin("Bind", target); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	stack := n.mounts[source]
	if len(stack) == 0 {
		return fmt.Errorf("nothing is mounted at %s: %w", source, actors.ErrPrecondition)
	}
	if err := os.Mkdir(target, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make target path: %w", err)
	}
	top := stack[len(stack)-1]
	n.did("Bind", target)
	n.mounts[target] = append(n.mounts[target], mount{num: top.num, readOnly: readOnly || top.readOnly})
	return nil
}

// MakeNode makes an empty file and remembers that it is a device node.
func (n *Node) MakeNode(_ context.Context, dev nvme.Device, target string, readOnly bool) error {
	if err := n.begin("MakeNode", target); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make device node: %w", err)
	}
	n.did("MakeNode", target)
	n.nodes[target] = node{num: dev.Num, readOnly: readOnly}
	return f.Close()
}

// Unmount takes down all mounts at a path.
func (n *Node) Unmount(_ context.Context, path string) error {
	if err := n.begin("Unmount", path); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.mounts[path]) > 0 {
		n.did("Unmount", path)
	}
	delete(n.mounts, path)
	return nil
}

// Identify tells which filesystem a device holds.
func (n *Node) Identify(_ context.Context, dev nvme.Device) (string, error) {
	if err := n.begin("Identify", dev.Path); err != nil {
		return "", err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.identify(dev)
}

func (n *Node) identify(dev nvme.Device) (string, error) {
	v := volume(n.nqn(dev.Num))
	if n.format[v] == "" || n.format[v] == halfFormatted {
		return "", fmt.Errorf("device %s holds no filesystem: %w", dev.Num, actors.ErrPrecondition)
	}
	return n.format[v] + " " + cmp.Or(n.uuids[v], v), nil
}

// Restore mounts a filesystem that is known.
func (n *Node) Restore(_ context.Context, dev nvme.Device, path string, fs nvme.Filesystem, known string) error {
	if err := n.begin("Restore", path); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	found, err := n.identify(dev)
	if err != nil {
		return err
	}
	if found != known {
		return fmt.Errorf("device %s holds %s and not %s: %w", dev.Num, found, known, actors.ErrPrecondition)
	}
	n.did("Restore", path)
	n.mounts[path] = append(n.mounts[path], mount{num: dev.Num, readOnly: fs.ReadOnly})
	return nil
}

// Survey looks at volumes, each with paths.
func (n *Node) Survey(_ context.Context, volumes map[actors.VolumeID][]string) (map[actors.VolumeID]nvme.Sight, error) {
	if err := n.begin("Survey", ""); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	sights := make(map[actors.VolumeID]nvme.Sight, len(volumes))
	for id, paths := range volumes {
		s := nvme.Sight{Connections: n.connections(id)}
		for _, path := range paths {
			entry, err := n.inspect(path)
			if err != nil {
				s = nvme.Sight{Err: err}
				break
			}
			s.Entries = append(s.Entries, entry)
		}
		sights[id] = s
	}
	return sights, nil
}

// Grow does nothing but check that a filesystem is mounted for writing.
func (n *Node) Grow(_ context.Context, dev nvme.Device, path string) error {
	if err := n.begin("Grow", path); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	entry, err := n.inspect(path)
	if err != nil {
		return err
	}
	if !entry.Mounted || entry.Num != dev.Num || entry.ReadOnly {
		return fmt.Errorf("%s is not mounted for writing at %s: %w", dev.Num, path, actors.ErrPrecondition)
	}
	n.did("Grow", path)
	return nil
}

// Usage tells of an empty filesystem of the device's size.
func (n *Node) Usage(_ context.Context, path string) (nvme.Usage, error) {
	if err := n.begin("Usage", path); err != nil {
		return nvme.Usage{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	entry, err := n.inspect(path)
	if err != nil {
		return nvme.Usage{}, err
	}
	nqn := n.nqn(entry.Num)
	if !entry.Mounted || nqn == "" {
		return nvme.Usage{}, fmt.Errorf("nothing is mounted at %s: %w", path, actors.ErrNotFound)
	}
	size := n.conns[nqn].Device.Size
	inodes := size / blockSize / 4
	return nvme.Usage{Bytes: size, BytesFree: size, Inodes: inodes, InodesFree: inodes}, nil
}
