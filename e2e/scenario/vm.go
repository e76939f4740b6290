// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rds-csi/rds-csi/e2e/kubelet"
	"github.com/rds-csi/rds-csi/e2e/kubevirt"
)

func (w *world) script() *kubevirt.Script {
	return &kubevirt.Script{
		Client: w.control.Client(), Dynamic: w.dynamic, Namespace: w.namespace,
		Writes: kubelet.Writes, Completes: kubelet.Completes,
	}
}

func kubevirtCommand(ctx context.Context, w *world, args []string) error {
	if strings.Join(args, " ") != "install" {
		return errors.New("KubeVirt can be installed")
	}
	w.kubevirt = true
	return kubevirt.Install(ctx, w.dynamic)
}

func vm(ctx context.Context, w *world, args []string) error {
	ws, err := parse(args, 1, "claim", "node")
	if err != nil {
		return err
	}
	name := ws.plain[0]
	if err := w.script().Boot(ctx, name, ws.keyed["node"], ws.keyed["claim"]); err != nil {
		return err
	}
	pod := "virt-launcher-" + name
	if err := eventually(ctx, func(ctx context.Context) error { return w.podIs(ctx, pod, "running") }); err != nil {
		return err
	}
	return w.script().Booted(ctx, name)
}

func migrate(ctx context.Context, w *world, args []string) error {
	ws, err := parse(args, 2, "to")
	if err != nil {
		return err
	}
	name, move := ws.plain[0], ws.plain[1]
	if err := w.script().Begin(ctx, name, move, ws.keyed["to"]); err != nil {
		return err
	}
	pod := "virt-launcher-" + name + "-" + move
	return eventually(ctx, func(ctx context.Context) error { return w.podIs(ctx, pod, "running") })
}

func migration(ctx context.Context, w *world, args []string) error {
	if len(args) != 2 || kubevirt.Moves[args[1]] == nil {
		return fmt.Errorf("a migration and its next step are needed")
	}
	s := w.script()
	m, err := s.Migration(ctx, args[0])
	if err != nil {
		return err
	}
	return kubevirt.Moves[args[1]](ctx, s, m)
}
