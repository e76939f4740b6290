// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"testing"

	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/e2e/kernel"
)

// restart ends the node plugin as a crash does, while a pod writes. The pod does not notice, and the next plugin knows
// what the one before had done.
func restart(t *testing.T, s story) {
	ctx := t.Context()
	volumes := []*kernel.Volume{s.volume(t, kernel.Spec{Size: 64 * mib}), s.volume(t, kernel.Spec{FS: "ext4", Size: 64 * mib})}
	var writers []*kernel.Writer
	for _, v := range volumes {
		must(t, v.Attach(ctx, s.a))
		w, err := v.Write(ctx, s.a)
		must(t, err, w.Await(ctx, 20))
		writers = append(writers, w)
	}
	must(t, s.a.KillPlugin(ctx), s.a.StartPlugin(ctx))
	for i, w := range writers {
		// kubelet asks again for what it does not know to be done.
		must(t, volumes[i].Attach(ctx, s.a), w.Await(ctx, 20))
		told, err := w.End(ctx)
		must(t, err, w.Verify(ctx, s.a, told))
		if len(told.Errors) > 0 {
			t.Errorf("writes failed: %v", told.Errors)
		}
		must(t, volumes[i].Detach(ctx, s.a), volumes[i].Delete(ctx))
	}
	s.gone(t, s.a, volumes[0])
}

// silence notes what a node has written to a volume so far. What it returns fails if there is more.
func (s story) silence(t *testing.T, n *guest.Node, v *kernel.Volume) func() {
	t.Helper()
	last, before, err := s.Box.Written(t.Context(), v.ID, n.HostNQN())
	must(t, err)
	if before == 0 {
		t.Fatalf("%s has never written, so nothing would be proved", n.Name())
	}
	return func() {
		t.Helper()
		again, after, err := s.Box.Written(t.Context(), v.ID, n.HostNQN())
		must(t, err)
		if after != before {
			t.Errorf("%s wrote %d times more, the last time %v after its grant was gone", n.Name(), after-before, again.Sub(last))
		}
	}
}

// crash lets a node's kernel panic while it writes. What was acknowledged is what the next node finds.
func crash(t *testing.T, s story) {
	ctx := t.Context()
	block, files := s.volume(t, kernel.Spec{Size: 64 * mib}), s.volume(t, kernel.Spec{FS: "xfs", Size: 320 * mib})
	var told []api.Written
	var writers []*kernel.Writer
	for _, v := range []*kernel.Volume{block, files} {
		must(t, v.Attach(ctx, s.a))
		w, err := v.Write(ctx, s.a)
		// After a round the file has its length.
		must(t, err, w.Await(ctx, 100))
		writers = append(writers, w)
	}
	must(t, s.a.Call(ctx, api.Sync, struct{}{}, nil))
	for _, w := range writers {
		so, err := w.Written(ctx)
		must(t, err)
		told = append(told, so)
	}
	must(t, s.a.Crash(ctx))
	for i, v := range []*kernel.Volume{block, files} {
		must(t, v.Revoke(ctx, s.a), v.Attach(ctx, s.b))
		must(t, writers[i].VerifyLost(ctx, s.b, told[i]))
		must(t, v.Detach(ctx, s.b), v.Delete(ctx))
	}
	s.gone(t, s.b, files)
}
