// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"context"
	"fmt"
	"log"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/host"
)

// A node that writes a block, and goes on writing after the box was away for a while.
func Example() {
	ctx := context.Background()
	id := uuid.MustParse("5f2a0c1e-9c4b-4a7e-8a55-1d5f0f1e2d3c")
	disk, err := host.Connect(ctx, host.Config{
		Address:         "192.0.2.10:4420",
		SubsystemNQN:    "nqn.2026-01.example:pvc-0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
		HostNQN:         "nqn.2014-08.org.nvmexpress:uuid:" + id.String(),
		HostID:          id,
		CtrlLossTimeout: -1, // wait for the box as long as it takes
		OnState:         func(old, now host.State) { fmt.Println(old, "->", now) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = disk.Close() }()
	if _, err := disk.WriteAtContext(ctx, make([]byte, disk.BlockSize()), 0); err != nil {
		log.Print(err)
	}
}
