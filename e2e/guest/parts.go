// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/rds-csi/rds-csi/e2e/guest/initrd"
)

// Kernels are those that guests can have, the oldest first: Debian 12's own, and the one of its backports.
var Kernels = []string{"6.1", "6.12"}

// Parts are what guests are made of. All fields are required.
type Parts struct {
	Fetched string // directory that the script fetch prints
	QEMU    string // program
	Root    string // of the repository
	Dir     string // directory for what is built, which is made
}

// The modules that a node needs and the kernels do not have in them, and the programs that the driver and its users
// call, as in the driver's image, with the one that lends a VM its disk.
var (
	modules  = []string{"virtio_pci", "virtio_net", "virtio_console", "crc32c-intel", "nvme-tcp", "xfs"}
	programs = []string{
		"mount", "umount", "blkid", "blockdev", "fsck", "fsck.ext4", "mkfs.ext4", "resize2fs", "dumpe2fs", "tune2fs",
		"mkfs.xfs", "xfs_growfs", "xfs_repair", lender,
	}
)

// modulesOfVM are the modules that a VM needs, which has the agent and no program.
var modulesOfVM = []string{"virtio_pci", "virtio_net", "virtio_console", "virtio_blk"}

// Build builds the programs of this repository, and for each kernel the initrd of a node and that of a VM.
func (p Parts) Build(ctx context.Context) error {
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return fmt.Errorf("make guests: %w", err)
	}
	for module, packages := range map[string][]string{".": {"./cmd/rds-csi", "./cmd/rds-sim"}, "e2e": {"./guest/agent"}} {
		// Static, since a guest has the libraries of another system; so without the race detector.
		build := exec.CommandContext(ctx, "go", append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", p.Dir + "/"}, packages...)...)
		build.Dir = filepath.Join(p.Root, module)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %v: %w\n%s", packages, err, out)
		}
	}
	for _, kernel := range Kernels {
		node := initrd.Config{
			Kernel: filepath.Join(p.Fetched, kernel), Modules: modules,
			Tools: filepath.Join(p.Fetched, "tools"), Programs: programs, Config: []string{"/etc/mke2fs.conf"},
			Agent: p.Program("agent"), Files: map[string]string{driverPath: p.Program("rds-csi")},
		}
		vm := initrd.Config{Kernel: node.Kernel, Modules: modulesOfVM, Tools: node.Tools, Agent: node.Agent}
		if err := errors.Join(initrd.Write(node, p.initrd(kernel)), initrd.Write(vm, p.initrdOfVM(kernel))); err != nil {
			return fmt.Errorf("kernel %s: %w", kernel, err)
		}
	}
	return nil
}

// Program is the path of a program that was built.
func (p Parts) Program(name string) string { return filepath.Join(p.Dir, name) }

func (p Parts) initrd(kernel string) string { return filepath.Join(p.Dir, "initrd-"+kernel) }

func (p Parts) initrdOfVM(kernel string) string { return filepath.Join(p.Dir, "initrd-vm-"+kernel) }
