// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/e2e/kernel"
)

// unsound lets an ext4 and an xfs fail whose connection is well. The driver notices and tells, and what was acknowledged
// is there once the volumes were staged anew.
func (s story) unsound(t *testing.T, users []*user) {
	t.Helper()
	ctx := t.Context()
	for _, u := range users {
		must(t, s.writes(ctx, u))
	}
	must(t, s.well(ctx, s.a))
	witness, err := kernel.Listen(ctx, s.a)
	must(t, err)
	events := make([]string, len(users))
	for i, u := range users {
		switch u.Spec.FS {
		case "ext4":
			events[i] = "the filesystem meets an error"
			name, err := s.mounted(ctx, u.Volume)
			trigger := path.Join("/sys/fs/ext4", name, "trigger_fs_error")
			must(t, err, s.a.Call(ctx, api.Write, api.Content{Path: trigger, Data: []byte("of a story")}, nil))
		case "xfs":
			// An ext4 that somebody shuts down while its device is there does not show it before Linux 6.15.
			events[i] = "the filesystem shuts down"
			must(t, s.a.Call(ctx, api.ShutDown, api.Path{Path: u.Target()}, nil))
		}
	}
	written := make([]api.Written, len(users))
	for i, u := range users {
		health, err := u.Is(ctx, s.a, true, "FilesystemFailed")
		must(t, err, s.hears(ctx, witness, u, "MountFailure"))
		t.Logf("%s: %s", u.Spec.Kind(), health.Message)
		written[i], err = u.writer.End(ctx)
		must(t, err)
	}
	must(t, s.stagedAnew(ctx, users), s.well(ctx, s.a))
	for i, u := range users {
		found, err := witness.Conditions(ctx, u.Volume)
		must(t, err, u.writer.Verify(ctx, s.a, written[i]))
		s.saw(t, kernel.Row{Table: "unsound", Event: events[i], Volume: u.Spec.Kind(), Writes: &written[i], Driver: strings.Join(found, ", ")})
	}
}

// mounted is the name of the device that the first node has a volume's file system mounted from.
func (s story) mounted(ctx context.Context, v *kernel.Volume) (string, error) {
	var mounts api.Content
	if err := s.a.Call(ctx, api.Read, api.Path{Path: "/proc/mounts"}, &mounts); err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts.Data)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == v.Target() {
			return path.Base(fields[0]), nil
		}
	}
	return "", fmt.Errorf("%s is not mounted", v.ID)
}
