// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

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
	ws, err := parse(args, 1, "claim", "plugged", "node", "waits")
	if err != nil {
		return err
	}
	name := ws.plain[0]
	claims, plugged := list(ws.keyed["claim"]), list(ws.keyed["plugged"])
	for _, claim := range slices.Concat(claims, plugged) {
		id, err := w.volumeOf(ctx, claim)
		if err != nil {
			return err
		}
		w.tally.virtual[id] = true
	}
	if err := w.script().Boot(ctx, kubevirt.Machine{
		Name: name, Node: ws.keyed["node"], Claims: claims, Plugged: plugged,
	}); err != nil || ws.keyed["waits"] == "true" {
		return err
	}
	return booted(ctx, w, []string{name})
}

// list takes names apart that commas separate.
func list(names string) []string {
	return strings.FieldsFunc(names, func(r rune) bool { return r == ',' })
}

// booted waits for a VM's launcher and lets the VM run.
func booted(ctx context.Context, w *world, args []string) error {
	if len(args) != 1 {
		return errors.New("a VM is needed")
	}
	if err := w.launched(ctx, "virt-launcher-"+args[0]); err != nil {
		return err
	}
	return w.script().Booted(ctx, args[0])
}

// launched waits until a launcher runs, and the pod that plugs disks into it, if there is one.
func (w *world) launched(ctx context.Context, launcher string) error {
	for _, pod := range []string{launcher, "hp-" + launcher} {
		if err := eventually(ctx, func(ctx context.Context) error {
			if err := w.podIs(ctx, pod, "running"); pod == launcher || !apierrors.IsNotFound(err) {
				return err
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

func migrate(ctx context.Context, w *world, args []string) error {
	ws, err := parse(args, 2, "to", "waits")
	if err != nil {
		return err
	}
	name, move := ws.plain[0], ws.plain[1]
	if err := w.script().Begin(ctx, name, move, ws.keyed["to"]); err != nil || ws.keyed["waits"] == "true" {
		return err
	}
	return launched(ctx, w, []string{name, move})
}

// launched waits until the target pod of a migration runs. From here on, the migration is under way.
func launched(ctx context.Context, w *world, args []string) error {
	if len(args) != 2 {
		return errors.New("a VM and a migration are needed")
	}
	name, move := args[0], args[1]
	if err := w.launched(ctx, "virt-launcher-"+name+"-"+move); err != nil {
		return err
	}
	m, err := w.script().Migration(ctx, move)
	if err != nil {
		return err
	}
	return w.eachDisk(ctx, m, func(r route) { w.tally.open[r]++ })
}

// eachDisk passes on what a migration is for each disk of its VM.
func (w *world) eachDisk(ctx context.Context, m *kubevirt.Migration, note func(route)) error {
	source, target := m.Nodes()
	for _, claim := range m.Claims {
		id, err := w.volumeOf(ctx, claim)
		if err != nil {
			return err
		}
		note(route{id, source, target})
	}
	return nil
}

// note keeps what KubeVirt said of a migration by a step, at a time: how long it may take, and how it ended.
func (w *world) note(ctx context.Context, step string, now time.Time, m *kubevirt.Migration) error {
	if step == "handoff" {
		w.tally.limits[m.Name] = now.Truncate(time.Second).Add(m.Limit()) // KubeVirt counts from a full second
	}
	result, final := kubevirt.Results[step]
	if !final {
		return nil
	}
	if limit, known := w.tally.limits[m.Name]; known && now.After(limit) {
		result = timeout
	}
	return w.eachDisk(ctx, m, func(r route) { w.tally.end(r, result) })
}

// migration goes a step on, which a time on that KubeVirt allows may come with.
func migration(ctx context.Context, w *world, args []string) error {
	ws, err := parse(args, 2, "per-gib", "progress")
	if err != nil {
		return err
	}
	move := kubevirt.Moves[ws.plain[1]]
	if move == nil {
		return fmt.Errorf("no migration can %s", ws.plain[1])
	}
	s := w.script()
	m, err := s.Migration(ctx, ws.plain[0])
	if err != nil {
		return err
	}
	for key, at := range map[string]*int64{"per-gib": &m.PerGiB, "progress": &m.Progress} {
		text, given := ws.keyed[key]
		if !given {
			continue
		}
		if *at, err = strconv.ParseInt(text, 10, 64); err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
	}
	now := time.Now()
	if err := move(ctx, s, m); err != nil {
		return err
	}
	return w.note(ctx, ws.plain[1], now, m)
}
