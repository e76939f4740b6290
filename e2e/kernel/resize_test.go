// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"strings"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/e2e/kernel"
	"github.com/rds-csi/rds-csi/rds/sim/control"
)

// resize makes volumes larger on a box that tells hosts nothing of it, while pods write to them.
func resize(t *testing.T, s story) {
	ctx := t.Context()
	volumes := []*kernel.Volume{s.volume(t, kernel.Spec{Size: 64 * mib}), s.volume(t, kernel.Spec{FS: "ext4", Size: 64 * mib})}
	for _, v := range volumes {
		must(t, v.Attach(ctx, s.a))
	}
	// A rescan shows the size.
	t.Run("rescanned", func(t *testing.T) { s.quietly(t, volumes, nil, false) })
	// The box tells a host the size that it connected to: the connection is made anew.
	t.Run("reset", func(t *testing.T) { s.quietly(t, volumes, &control.Fault{Command: "identify", Stale: true}, true) })
	for _, v := range volumes {
		must(t, v.Detach(ctx, s.a), v.Delete(ctx))
	}
	s.gone(t, s.a, volumes[0])
}

// quietly makes volumes larger, without an event and on a box that behaves so. Their connections are reset, or not.
func (s story) quietly(t *testing.T, volumes []*kernel.Volume, behaves *control.Fault, reset bool) {
	t.Helper()
	ctx := t.Context()
	var writers []*kernel.Writer
	var faults []kernel.Hold
	for _, v := range volumes {
		w, err := v.Write(ctx, s.a)
		must(t, err, w.Await(ctx, 20))
		writers = append(writers, w)
		if behaves != nil {
			fault, err := v.Spoil(ctx, *behaves)
			must(t, err)
			faults = append(faults, fault)
		}
		must(t, s.Box.Resize(ctx, v.ID, 2*v.Spec.Size))
		shown(t, s.a, v) // as before
	}
	was, err := s.addresses(t)
	must(t, err)
	expanded := make(chan error, len(volumes))
	for _, v := range volumes {
		go func() { expanded <- v.Expand(ctx, s.a, 2*v.Spec.Size) }()
	}
	for range volumes {
		must(t, <-expanded)
	}
	is, err := s.addresses(t)
	must(t, err)
	if (was != is) != reset {
		t.Errorf("the controllers were %s and are %s", was, is)
	}
	for i, v := range volumes {
		v.Spec.Size *= 2
		shown(t, s.a, v)
		must(t, writers[i].Await(ctx, 20))
		told, err := writers[i].End(ctx)
		must(t, err, writers[i].Verify(ctx, s.a, told))
		t.Logf("%s: %d writes, the longest took %v", v.Data(), told.Acked, told.Longest.Round(time.Millisecond))
		if len(told.Errors) > 0 {
			t.Errorf("writes failed: %v", told.Errors)
		}
	}
	for _, fault := range faults {
		must(t, fault.Release(ctx))
	}
}

// addresses tells by what controllers of node a are connected: their ports and their identifiers, which are new after
// each reset.
func (s story) addresses(t *testing.T) (string, error) {
	t.Helper()
	ctx := t.Context()
	var names api.Names
	if err := s.a.Call(ctx, api.List, api.Path{Path: "/sys/class/nvme"}, &names); err != nil {
		return "", err
	}
	var told []string
	for _, name := range names.Names {
		var id api.Content
		if err := s.a.Call(ctx, api.Read, api.Path{Path: "/sys/class/nvme/" + name + "/cntlid"}, &id); err != nil {
			return "", err
		}
		told = append(told, name+"="+strings.TrimSpace(string(id.Data)))
	}
	return strings.Join(told, " "), nil
}
