// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/e2e/await"
	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/e2e/kernel"
)

// outage is how long the box is away. It is longer than the kernel's keep-alive timeout and its delay between two
// attempts to reconnect.
const outage = 8 * time.Second

// attempts is how long attempts to reconnect are refused: some are made meanwhile.
const attempts = 5 * time.Second

// faults disturbs the box while a node writes to a block device and to a file. The kernel reconnects: writes wait,
// none fails, and none is lost or torn.
func faults(t *testing.T, s story) {
	ctx := t.Context()
	volumes := []*kernel.Volume{s.volume(t, kernel.Spec{Size: 64 * mib}), s.volume(t, kernel.Spec{FS: "ext4", Size: 64 * mib})}
	for _, v := range volumes {
		must(t, v.Attach(ctx, s.a))
	}
	for _, fault := range []struct {
		name   string
		happen func(ctx context.Context) error
	}{
		{"the connections drop", s.dropAll},
		{"the box is off for 8 s", func(ctx context.Context) error {
			if err := s.Box.Stop(); err != nil {
				return err
			}
			wait(ctx, outage)
			return s.Box.Start(ctx)
		}},
		{"the box freezes until the kernel notices", func(ctx context.Context) error {
			if err := s.Box.Do(ctx, "freeze", `{"nvme": true}`); err != nil {
				return err
			}
			// The kernel notices by its keep-alive.
			if err := s.stateIs(ctx, s.a, "connecting"); err != nil {
				return err
			}
			return s.Box.Do(ctx, "thaw", `{"nvme": true}`)
		}},
		{"the exports are gone for 5 s", func(ctx context.Context) error {
			if err := s.Box.Do(ctx, "settings", `{"pool-missing": true}`); err != nil {
				return err
			}
			err := s.stateIs(ctx, s.a, "connecting")
			wait(ctx, attempts)
			return errors.Join(err, s.Box.Do(ctx, "settings", `{"pool-missing": false}`))
		}},
		{"the box reboots", func(ctx context.Context) error { return s.Box.Do(ctx, "reboot", "") }},
	} {
		t.Run(fault.name, func(t *testing.T) { s.survives(t, volumes, fault.name, fault.happen) })
	}
	for _, v := range volumes {
		must(t, v.Detach(ctx, s.a), v.Delete(ctx))
	}
	s.gone(t, s.a, volumes[0])
}

// survives lets something happen while the first node writes to volumes, and fails for a write that fails.
func (s story) survives(t *testing.T, volumes []*kernel.Volume, event string, happen func(ctx context.Context) error) {
	t.Helper()
	ctx := t.Context()
	var writers []*kernel.Writer
	for _, v := range volumes {
		w, err := v.Write(ctx, s.a)
		must(t, err, w.Await(ctx, 20))
		writers = append(writers, w)
	}
	must(t, s.well(ctx, s.a))
	witness, err := kernel.Listen(ctx, s.a)
	must(t, err, happen(ctx))
	for i, w := range writers {
		must(t, w.Await(ctx, w.Slots())) // what an earlier writer has left is overwritten
		told, err := w.End(ctx)
		must(t, err, w.Verify(ctx, s.a, told))
		if len(told.Errors) > 0 {
			t.Errorf("writes failed: %v", told.Errors)
		}
		did, err := witness.Kernel(ctx, volumes[i])
		must(t, err)
		found, err := witness.Conditions(ctx, volumes[i])
		must(t, err)
		found = slices.DeleteFunc(found, func(c string) bool { return c == string(csi.Healthy) })
		s.saw(t, kernel.Row{
			Table: "waits", Event: event, Volume: volumes[i].Spec.Kind(), Writes: &told, Kernel: did,
			Driver: cmp.Or(strings.Join(found, ", "), string(csi.Healthy)),
		})
	}
}

// well waits until the driver's latest look at a node found every volume well.
func (s story) well(ctx context.Context, n *guest.Node) error {
	return await.Nil(ctx, func(ctx context.Context) error {
		metrics, err := n.Metrics(ctx)
		if err != nil {
			return err
		}
		for _, c := range csi.Conditions() {
			name := fmt.Sprintf("rds_csi_node_volumes{condition=%q}", c)
			if ill := kernel.Sample(metrics, name); ill > 0 && c != csi.Healthy {
				return fmt.Errorf("%v volumes of %s are %s", ill, n.Name(), c)
			}
		}
		return nil
	})
}

// saw reports what there was to be seen of an event.
func (s story) saw(t *testing.T, row kernel.Row) {
	t.Helper()
	t.Log(row)
	s.report.Add(s.linux, row)
}

// dropAll ends all connections of hosts to the box.
func (s story) dropAll(ctx context.Context) error {
	disks, err := s.Box.Disks(ctx)
	if err != nil {
		return err
	}
	for _, d := range disks {
		if !d.Export {
			continue
		}
		if err := s.Box.Do(ctx, "drop", fmt.Sprintf(`{"nqn": %q}`, d.NQN)); err != nil {
			return err
		}
	}
	return nil
}

// stateIs waits until all of a node's controllers are in a state.
func (s story) stateIs(ctx context.Context, n *guest.Node, want string) error {
	return await.Nil(ctx, func(ctx context.Context) error {
		states, err := kernel.Controllers(ctx, n, "state")
		if err == nil && (len(states) == 0 || slices.ContainsFunc(slices.Collect(maps.Values(states)), func(state string) bool { return state != want })) {
			err = fmt.Errorf("the controllers are %v and not %s", states, want)
		}
		return err
	})
}

// wait lets a fault last so long.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
