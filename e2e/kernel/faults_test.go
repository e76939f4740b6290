// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/e2e/await"
	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/e2e/guest/api"
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
		{"connections drop", func(ctx context.Context) error { return s.dropAll(ctx) }},
		{"the box is off", func(ctx context.Context) error {
			if err := s.Box.Stop(); err != nil {
				return err
			}
			wait(ctx, outage)
			return s.Box.Start(ctx)
		}},
		{"the box freezes", func(ctx context.Context) error {
			if err := s.Box.Do(ctx, "freeze", `{"nvme": true}`); err != nil {
				return err
			}
			// The kernel notices by its keep-alive.
			if err := s.stateIs(ctx, s.a, "connecting"); err != nil {
				return err
			}
			return s.Box.Do(ctx, "thaw", `{"nvme": true}`)
		}},
		{"the exports are gone", func(ctx context.Context) error {
			if err := s.Box.Do(ctx, "settings", `{"pool-missing": true}`); err != nil {
				return err
			}
			err := s.stateIs(ctx, s.a, "connecting")
			wait(ctx, attempts)
			return errors.Join(err, s.Box.Do(ctx, "settings", `{"pool-missing": false}`))
		}},
		{"the box reboots", func(ctx context.Context) error { return s.Box.Do(ctx, "reboot", "") }},
	} {
		t.Run(fault.name, func(t *testing.T) {
			ctx := t.Context()
			var writers []*kernel.Writer
			for _, v := range volumes {
				w, err := v.Write(ctx, s.a)
				must(t, err, w.Await(ctx, 20))
				writers = append(writers, w)
			}
			must(t, fault.happen(ctx))
			for i, w := range writers {
				must(t, w.Await(ctx, 20))
				told, err := w.End(ctx)
				must(t, err, w.Verify(ctx, s.a, told))
				t.Logf("%s: %d writes, the longest took %v, errors %v", volumes[i].Data(), told.Acked, told.Longest.Round(time.Millisecond), told.Errors)
				if len(told.Errors) > 0 {
					t.Errorf("writes failed: %v", told.Errors)
				}
			}
		})
	}
	for _, v := range volumes {
		must(t, v.Detach(ctx, s.a), v.Delete(ctx))
	}
	s.gone(t, s.a, volumes[0])
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

// states are those of a node's controllers.
func (s story) states(ctx context.Context, n *guest.Node) ([]string, error) {
	var names api.Names
	if err := n.Call(ctx, api.List, api.Path{Path: "/sys/class/nvme"}, &names); err != nil {
		return nil, err
	}
	var states []string
	for _, name := range names.Names {
		var state api.Content
		if err := n.Call(ctx, api.Read, api.Path{Path: "/sys/class/nvme/" + name + "/state"}, &state); err != nil {
			return nil, err
		}
		states = append(states, strings.TrimSpace(string(state.Data)))
	}
	return states, nil
}

// stateIs waits until all of a node's controllers are in a state.
func (s story) stateIs(ctx context.Context, n *guest.Node, want string) error {
	return await.Nil(ctx, func(ctx context.Context) error {
		states, err := s.states(ctx, n)
		if err == nil && (len(states) == 0 || slices.ContainsFunc(states, func(state string) bool { return state != want })) {
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
