// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"testing"
	"time"

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

// fence takes volumes from a node that has not given them up and goes on writing.
func fence(t *testing.T, s story) {
	// Its last grant gone, a volume is not exported any more, and then under another name.
	t.Run("the last node", func(t *testing.T) {
		ctx := t.Context()
		v := s.volume(t, kernel.Spec{Size: 64 * mib})
		must(t, v.Attach(ctx, s.a))
		lost, err := v.Write(ctx, s.a)
		must(t, err, lost.Await(ctx, 20), v.Revoke(ctx, s.a))
		silent := s.silence(t, s.a, v)
		must(t, v.Attach(ctx, s.b))
		next, err := v.Write(ctx, s.b)
		must(t, err, next.Await(ctx, 200))
		silent()
		told, err := next.End(ctx)
		must(t, err)
		acked := s.release(t, s.a, lost)
		must(t, v.Unmount(ctx, s.a), next.Verify(ctx, s.b, told), lost.Verify(ctx, s.b, acked))
		s.gone(t, s.a, v)
		must(t, v.Detach(ctx, s.b), v.Delete(ctx))
	})
	// Of two nodes the one that stays goes on: its kernel reconnects where that of the lost one is refused.
	t.Run("one of two", func(t *testing.T) {
		ctx := t.Context()
		v := s.volume(t, kernel.Spec{Size: 64 * mib, Shared: true, Parameters: map[string]string{"fencing": "host"}})
		must(t, v.Attach(ctx, s.a), v.Attach(ctx, s.b))
		stays, err := v.Write(ctx, s.a)
		must(t, err)
		lost, err := v.Write(ctx, s.b)
		must(t, err, stays.Await(ctx, 20), lost.Await(ctx, 20))
		must(t, s.Know(ctx, s.a.Name()), v.Revoke(ctx, s.b))
		silent := s.silence(t, s.b, v)
		must(t, stays.Await(ctx, 200))
		silent()
		told, err := stays.End(ctx)
		must(t, err)
		t.Logf("the node that stays: the longest write took %v, errors %v", told.Longest.Round(time.Millisecond), told.Errors)
		if len(told.Errors) > 0 {
			t.Errorf("the node that stays got %v", told.Errors)
		}
		acked := s.release(t, s.b, lost)
		must(t, v.Unmount(ctx, s.b), stays.Verify(ctx, s.a, told), lost.Verify(ctx, s.a, acked), s.Know(ctx, s.a.Name(), s.b.Name()))
		s.gone(t, s.b, v)
		must(t, v.Detach(ctx, s.a), v.Delete(ctx))
	})
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

// release ends a writer on a node whose grant was revoked. Where the kernel goes on trying to reconnect, its write ends
// with the connection: a person has to delete that.
func (s story) release(t *testing.T, n *guest.Node, w *kernel.Writer) api.Written {
	t.Helper()
	ctx := t.Context()
	states, err := s.states(ctx, n)
	must(t, err)
	t.Logf("the controllers of %s are %v", n.Name(), states)
	var names api.Names
	must(t, n.Call(ctx, api.List, api.Path{Path: "/sys/class/nvme"}, &names))
	for _, name := range names.Names {
		must(t, n.Call(ctx, api.Write, api.Content{Path: "/sys/class/nvme/" + name + "/delete_controller", Data: []byte("1")}, nil))
	}
	told, err := w.End(ctx)
	must(t, err)
	t.Logf("the node that was lost: %d of %d writes were acknowledged, the longest took %v, errors %v", told.Acked, told.Begun, told.Longest.Round(time.Millisecond), told.Errors)
	return told
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
