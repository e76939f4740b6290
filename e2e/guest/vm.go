// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/e2e/guest/initrd"
	"github.com/rds-csi/rds-csi/e2e/guest/machine"
	"github.com/rds-csi/rds-csi/e2e/guest/qmp"
)

// lender is the program by which a node lends a block device to a VM, and diskPort the port of the node at which.
const (
	lender   = "qemu-nbd"
	diskPort = 10001
)

// vmMemory is that of a VM in MiB: what there is of it is what a migration moves.
const vmMemory = 160

// VMDisk is the disk of a VM, as the VM sees it.
const VMDisk = "/dev/vda"

// A VMConfig says which VM. Dir and Device are required.
type VMConfig struct {
	Dir      string // directory for logs and sockets, which is made; its path must leave room for a socket's
	Device   string // block device of the node that is the VM's disk
	Incoming bool   // it is one that migrates to this node
}

// A VM is a guest whose disk is a block device of a node. Emulated processors are not nested: its QEMU runs beside
// that of its node, which lends the device to it by a QEMU without a machine, with the options that KubeVirt
// gives to block devices. So the device is in use for as long as the VM runs, and what writes to it is QEMU.
type VM struct {
	*machine.Machine
	node *Node
}

// Name tells what it is, and where.
func (vm *VM) Name() string { return "the VM on " + vm.node.Name() }

// StartVM starts a VM with the node's kernel. There is one at a time on a node.
func (n *Node) StartVM(ctx context.Context, cfg VMConfig) (*VM, error) {
	image, err := initrd.Image(filepath.Join(n.cfg.Parts.Fetched, n.cfg.Kernel))
	if err != nil {
		return nil, err
	}
	if err := n.Call(ctx, api.Start, api.Program{Name: lender, Args: []string{
		lender, "--persistent", "--shared=0", "--format=raw", "--cache=none", "--aio=native", "--port=" + strconv.Itoa(diskPort), cfg.Device,
	}}, nil); err != nil {
		return nil, fmt.Errorf("lend %s of %s: %w", cfg.Device, n.Name(), err)
	}
	vm := &VM{node: n}
	if vm.Machine, err = machine.Start(ctx, machine.Config{
		QEMU: n.cfg.Parts.QEMU, Image: image, Initrd: n.cfg.Parts.initrdOfVM(n.cfg.Kernel), Dir: cfg.Dir, Memory: vmMemory,
		Disk: n.Address(diskPort), Incoming: cfg.Incoming,
	}); err != nil {
		var log api.Content
		tell := n.Call(ctx, api.Read, api.Path{Path: api.Log(lender)}, &log)
		return nil, errors.Join(err, fmt.Errorf("%s of %s says: %s", lender, n.Name(), log.Data), tell, vm.giveBack(ctx))
	}
	return vm, nil
}

// Migrate brings the VM to another node, where one was started as incoming.
func (vm *VM) Migrate(ctx context.Context, to *VM) (qmp.Migration, error) {
	return vm.Machine.Migrate(ctx, to.Machine)
}

// Resume lets a VM go on that was stopped, as one is that has migrated.
func (vm *VM) Resume(ctx context.Context) error {
	return vm.Monitor().Execute(ctx, "cont", nil, nil)
}

// End ends the VM as pulling its plug does, and then its node's use of the device.
func (vm *VM) End(ctx context.Context) error {
	return errors.Join(vm.Kill(), vm.giveBack(ctx))
}

func (vm *VM) giveBack(ctx context.Context) error {
	return vm.node.Call(ctx, api.Kill, api.Name{Name: lender}, nil)
}
