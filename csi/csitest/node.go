// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csitest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

// Config configures a Node. Its zero value works.
type Config struct {
	// Size tells how large a subsystem's namespace is, in bytes, at every connect and rescan. Nil, or 0:
	// as large as the target says, or 1 GiB, and a rescan finds what it was asked for.
	Size func(ctx context.Context, nqn string) (int64, error)
	// Fault is asked before every operation, by the name of its method and its first argument that
	// is a path or an NQN; an error makes the operation fail with nothing done. Of Format, which is part of Mount, it
	// leaves the device half formatted. Nil: none fail.
	Fault func(op, arg string) error
}

// Node is a node without a kernel. It implements the interfaces Devices, Mounts and Filesystems of
// package csi. It outlives the Node service that uses it, as a kernel outlives a driver's pod. Its
// methods may be called from many goroutines.
type Node struct {
	cfg Config

	mu     sync.Mutex
	minor  uint32
	conns  map[string]*nvme.Connection // by NQN
	mounts map[string][]mount          // by path, the topmost last
	nodes  map[string]node             // by path; on disk an empty file stands for it
	format map[string]string           // by volume: the filesystem that was made
	uuids  map[string]string           // by volume: the filesystem's UUID, where it is not the first
	failed map[nvme.DevNum]string      // filesystems that are not sound, by their device
	over   map[string]string           // by NQN: why the target says that the attachment is over
	ops    []string
}

type mount struct {
	num      nvme.DevNum
	readOnly bool
}

type node struct {
	num      nvme.DevNum
	readOnly bool
}

const (
	major       = 259 // blkext, as of NVMe namespaces
	defaultSize = 1 << 30
	blockSize   = 4096
)

// New returns a node with nothing on it.
func New(cfg Config) *Node {
	return &Node{
		cfg:    cfg,
		conns:  make(map[string]*nvme.Connection),
		mounts: make(map[string][]mount),
		nodes:  make(map[string]node),
		format: make(map[string]string),
		uuids:  make(map[string]string),
		failed: make(map[nvme.DevNum]string),
		over:   make(map[string]string),
	}
}

// Ops returns what was done so far, oldest first, each as "method argument".
func (n *Node) Ops() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.ops)
}

// Reboot forgets connections and mounts, and counts device numbers from the start again. What was
// on disk stays: directories, and device nodes, whose numbers may soon be another volume's.
func (n *Node) Reboot() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.minor = 0
	clear(n.conns)
	clear(n.mounts)
	clear(n.failed)
}

// SetState changes the state of a connection. In nvme.StateGone it has lost its device for good: the
// next connect gives it a new one.
func (n *Node) SetState(nqn string, state nvme.State) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.conns[nqn]
	c.State = state
	if state == nvme.StateGone {
		c.Device = nvme.Device{}
	}
}

// Vanish makes the kernel give a connection up, as one does that took "do not retry" for its answer: what had
// its device open or mounted keeps a dead one, and the next connect makes another.
func (n *Node) Vanish(nqn string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, nqn)
}

// Shrink makes a connected device smaller, as after somebody changed its row on the box.
func (n *Node) Shrink(nqn string, size int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[nqn].Device.Size = size
}

// Break has the kernel tell that something is wrong with the filesystem on a connected device, in the words
// of nvme.Entry's field Failed.
func (n *Node) Break(nqn, why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failed[n.conns[nqn].Device.Num] = why
}

// Reformat puts another filesystem of the same type on a volume, behind the node's back.
func (n *Node) Reformat(nqn, id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.uuids[volume(nqn)] = id
}

// begin is asked first by every operation, without the lock: a fault may block.
func (n *Node) begin(op, arg string) error {
	if n.cfg.Fault != nil {
		if err := n.cfg.Fault(op, arg); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) did(op, arg string) { n.ops = append(n.ops, op+" "+arg) }

// Connect gives the target a device, or finds the one that it has.
func (n *Node) Connect(ctx context.Context, t nvme.Target) (nvme.Device, error) {
	if err := n.begin("Connect", t.NQN); err != nil {
		return nvme.Device{}, err
	}
	size, err := n.size(ctx, t.NQN, t.Size)
	if err != nil {
		return nvme.Device{}, err
	}
	if err := ctx.Err(); err != nil {
		return nvme.Device{}, fmt.Errorf("connect %s: %w: %w", t.NQN, err, actors.ErrUnavailable)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.conns[t.NQN]
	if c == nil || c.State == nvme.StateGone {
		n.minor++
		n.did("Connect", t.NQN)
		c = &nvme.Connection{NQN: t.NQN, Host: t.Host.NQN, Device: nvme.Device{
			Path: fmt.Sprintf("/dev/nvme%dn1", n.minor-1),
			Num:  nvme.DevNum{Major: major, Minor: n.minor},
		}}
		n.conns[t.NQN] = c
	}
	c.State = nvme.StateLive
	c.Device.Size = max(size, c.Device.Size)
	c.Device.ReadOnly = t.ReadOnly
	return c.Device, nil
}

func (n *Node) size(ctx context.Context, nqn string, asked int64) (int64, error) {
	if n.cfg.Size != nil {
		if size, err := n.cfg.Size(ctx, nqn); err != nil || size != 0 {
			return size, err
		}
	}
	if asked == 0 {
		return defaultSize, nil
	}
	return asked, nil
}

// Connections returns the connections whose NQN names the volume.
func (n *Node) Connections(_ context.Context, id actors.VolumeID) ([]nvme.Connection, error) {
	if err := n.begin("Connections", string(id)); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.connections(id), nil
}

func (n *Node) connections(id actors.VolumeID) []nvme.Connection {
	var found []nvme.Connection
	for nqn, c := range n.conns {
		if _, ok := actors.NQNPrefix(nqn, id); ok {
			found = append(found, *c)
		}
	}
	slices.SortFunc(found, func(a, b nvme.Connection) int { return strings.Compare(a.NQN, b.NQN) })
	return found
}

// Rescan reads the size again.
func (n *Node) Rescan(ctx context.Context, nqn string, asked int64) (nvme.Device, error) {
	if err := n.begin("Rescan", nqn); err != nil {
		return nvme.Device{}, err
	}
	size, err := n.size(ctx, nqn, asked)
	if err != nil {
		return nvme.Device{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.conns[nqn]
	if c == nil {
		return nvme.Device{}, fmt.Errorf("%s is not connected: %w", nqn, actors.ErrNotFound)
	}
	if size < asked {
		return nvme.Device{}, fmt.Errorf("%s has %d bytes, not %d: %w", nqn, size, asked, actors.ErrUnavailable)
	}
	n.did("Rescan", nqn)
	c.Device.Size = max(size, c.Device.Size)
	return c.Device, nil
}

// Supersede tells what the target answers when it is asked whether an attachment is over: why it is, or nothing.
func (n *Node) Supersede(nqn, why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.over[nqn] = why
}

// Relinquish forgets a connection that waits, whatever uses its device, if the target says that it is over.
func (n *Node) Relinquish(_ context.Context, t nvme.Target) (string, error) {
	if err := n.begin("Relinquish", t.NQN); err != nil {
		return "", err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.conns[t.NQN]
	if c == nil || c.State != nvme.StateConnecting {
		return "", nil
	}
	n.did("Relinquish", t.NQN)
	why := n.over[t.NQN]
	if why != "" {
		delete(n.conns, t.NQN)
	}
	return why, nil
}

// Disconnect forgets a connection, unless its device is mounted. A device node holds nothing.
func (n *Node) Disconnect(_ context.Context, nqn string) error {
	if err := n.begin("Disconnect", nqn); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.conns[nqn]
	if c == nil {
		return nil
	}
	for path, stack := range n.mounts {
		if slices.ContainsFunc(stack, func(m mount) bool { return c.Device.Path != "" && m.num == c.Device.Num }) {
			return fmt.Errorf("%s of %s is mounted at %s: %w", c.Device.Num, nqn, path, actors.ErrPrecondition)
		}
	}
	n.did("Disconnect", nqn)
	delete(n.conns, nqn)
	return nil
}

// present reports whether a device number is a connected device's.
func (n *Node) present(num nvme.DevNum) bool {
	for _, c := range n.conns {
		if c.Device.Path != "" && c.Device.Num == num {
			return true
		}
	}
	return false
}

// volume returns the part of an NQN that stays over all its epochs.
func volume(nqn string) string {
	if i := strings.LastIndexByte(nqn, ':'); i >= 0 {
		nqn = nqn[i+1:]
	}
	id, _, _ := strings.Cut(nqn, ".")
	return id
}

// lookup returns the file at a path, nil if there is none.
func lookup(path string) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return info, err
}
