// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"fmt"
	"time"

	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/e2e/stamp"
)

// StartVM boots a VM on a node that has the volume, which is its disk. Whoever starts a VM ends it.
func (v *Volume) StartVM(ctx context.Context, n *guest.Node) (*guest.VM, error) {
	return v.startVM(ctx, n, false)
}

// ExpectVM prepares a node that has the volume for a VM that migrates to it.
func (v *Volume) ExpectVM(ctx context.Context, n *guest.Node) (*guest.VM, error) {
	return v.startVM(ctx, n, true)
}

func (v *Volume) startVM(ctx context.Context, n *guest.Node, incoming bool) (*guest.VM, error) {
	v.stage.vms++
	return n.StartVM(ctx, guest.VMConfig{Dir: v.stage.dir(fmt.Sprintf("vm-%d", v.stage.vms)), Device: v.Target(), Incoming: incoming})
}

// A VM's ring is so long, and the VM writes so seldom, that the ring does not go round while the VM migrates: for
// each write around that moment there is a slot that still tells of it.
const (
	vmSlots = 2048
	vmParts = 2
	vmPause = 20 * time.Millisecond
)

// WriteIn lets a VM write to its disk until it is ended. What it writes is another ring each time that it begins.
func (v *Volume) WriteIn(ctx context.Context, vm *guest.VM) (*Writer, error) {
	r := stamp.Ring{Writer: "vm", Slots: vmSlots, Parts: vmParts}
	r.Base = int64(v.rings * r.Length())
	v.rings++
	w := &Writer{where: vm, volume: v, ring: r}
	return w, vm.Call(ctx, api.BeginWrites, api.Writes{Name: w.name(), Path: guest.VMDisk, Ring: r, Pause: vmPause}, nil)
}

// On is the writer of a VM where the VM has migrated to.
func (w *Writer) On(vm *guest.VM) *Writer {
	moved := *w
	moved.where = vm
	return &moved
}

// Slots is how many of a writer's writes its ring tells of.
func (w *Writer) Slots() uint64 { return uint64(w.ring.Slots) } //nolint:gosec // a ring has one at least
