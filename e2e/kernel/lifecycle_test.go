// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/e2e/kernel"
)

const mib = 1 << 20

// introduction asks the node plugins who they are.
func introduction(t *testing.T, s story) {
	for _, n := range []*guest.Node{s.a, s.b} {
		info, err := n.Client().NodeGetInfo(t.Context(), &csipb.NodeGetInfoRequest{})
		must(t, err)
		if info.GetNodeId() != n.Name() {
			t.Errorf("%s says that it is %s", n.Name(), info.GetNodeId())
		}
		plugin, err := n.Identity().GetPluginInfo(t.Context(), &csipb.GetPluginInfoRequest{})
		must(t, err)
		if plugin.GetName() != "rds.csi.srvlab.io" {
			t.Errorf("%s serves the driver %s", n.Name(), plugin.GetName())
		}
	}
}

// volume makes a volume.
func (s story) volume(t *testing.T, spec kernel.Spec) *kernel.Volume {
	t.Helper()
	v, err := s.NewVolume(t.Context(), spec)
	must(t, err)
	return v
}

// gone fails unless the node has nothing of any volume left.
func (s story) gone(t *testing.T, n *guest.Node, v *kernel.Volume) {
	t.Helper()
	s.without(t, n, v, "")
}

// left fails unless the node has nothing of one volume left.
func (s story) left(t *testing.T, n *guest.Node, v *kernel.Volume) {
	t.Helper()
	s.without(t, n, v, string(v.ID))
}

// without fails unless the node has a volume nowhere, and knows of none whose ID has a part.
func (s story) without(t *testing.T, n *guest.Node, v *kernel.Volume, part string) {
	t.Helper()
	nqns, err := kernel.Controllers(t.Context(), n, "subsysnqn")
	must(t, err)
	for name, nqn := range nqns {
		if strings.Contains(nqn, part) {
			t.Errorf("%s still has %s of %s", n.Name(), name, nqn)
		}
	}
	var mounts api.Content
	must(t, n.Call(t.Context(), api.Read, api.Path{Path: "/proc/mounts"}, &mounts))
	if strings.Contains(string(mounts.Data), string(v.ID)) {
		t.Errorf("%s still has mounted:\n%s", n.Name(), mounts.Data)
	}
	var names api.Names
	must(t, n.Call(t.Context(), api.List, api.Path{Path: "/var/lib/rds-csi"}, &names))
	for _, name := range names.Names {
		if strings.Contains(name, part) {
			t.Errorf("%s still remembers %s", n.Name(), name)
		}
	}
	// A story may have put a file there.
	if err := n.Call(t.Context(), api.List, api.Path{Path: v.Staging()}, &names); err == nil && len(names.Names) > 0 {
		t.Errorf("%s has %v at the staging path", n.Name(), names.Names)
	}
}

// lifecycle leads a volume of each kind through its life: one node writes to it, the other one reads that.
func lifecycle(t *testing.T, s story) {
	for name, spec := range map[string]kernel.Spec{
		"block": {Size: 64 * mib},
		"ext4":  {FS: "ext4", Size: 64 * mib},
		"xfs":   {FS: "xfs", Size: 512 * mib},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			v := s.volume(t, spec)
			must(t, v.Attach(ctx, s.a))
			shown(t, s.a, v)
			// What is done is not done again.
			must(t, v.Attach(ctx, s.a))
			w, err := v.Write(ctx, s.a)
			must(t, err, w.Await(ctx, 100))
			told, err := w.End(ctx)
			must(t, err, w.Verify(ctx, s.a, told))
			must(t, v.Detach(ctx, s.a))
			s.left(t, s.a, v)

			must(t, v.Attach(ctx, s.b))
			shown(t, s.b, v)
			must(t, w.Verify(ctx, s.b, told))
			must(t, v.Detach(ctx, s.b))
			s.left(t, s.b, v)
			must(t, v.Delete(ctx))
		})
	}
}

// shown fails unless a pod sees the volume as what it is.
func shown(t *testing.T, n *guest.Node, v *kernel.Volume) {
	t.Helper()
	stats, err := n.Client().NodeGetVolumeStats(t.Context(), &csipb.NodeGetVolumeStatsRequest{VolumeId: string(v.ID), VolumePath: v.Target(), StagingTargetPath: v.Staging()})
	must(t, err)
	total := stats.GetUsage()[0].GetTotal()
	if v.Spec.FS == "" {
		var file api.Stats
		must(t, n.Call(t.Context(), api.Stat, api.Path{Path: v.Target()}, &file))
		if file.Size != v.Spec.Size || total != v.Spec.Size || !strings.HasPrefix(file.Mode, "D") {
			t.Errorf("%s shows %+v, and tells %d bytes", n.Name(), file, total)
		}
		return
	}
	var mounts api.Content
	must(t, n.Call(t.Context(), api.Read, api.Path{Path: "/proc/mounts"}, &mounts))
	if !strings.Contains(string(mounts.Data), " "+v.Target()+" "+v.Spec.FS+" rw,") {
		t.Errorf("%s has no %s mounted at %s:\n%s", n.Name(), v.Spec.FS, v.Target(), mounts.Data)
	}
	// A file system keeps some of its device for itself.
	if total > v.Spec.Size || total < v.Spec.Size/2 {
		t.Errorf("%s tells %d bytes of %d", n.Name(), total, v.Spec.Size)
	}
}

// twoNodes lets two nodes write to one volume at the same time; each sees what both have written.
func twoNodes(t *testing.T, s story) {
	ctx := t.Context()
	v := s.volume(t, kernel.Spec{Size: 64 * mib, Shared: true})
	must(t, v.Attach(ctx, s.a), v.Attach(ctx, s.b))
	wa, err := v.Write(ctx, s.a)
	must(t, err)
	wb, err := v.Write(ctx, s.b)
	must(t, err, wa.Await(ctx, 100), wb.Await(ctx, 100))
	a, err := wa.End(ctx)
	must(t, err)
	b, err := wb.End(ctx)
	must(t, err)
	for _, n := range []*guest.Node{s.a, s.b} {
		must(t, wa.Verify(ctx, n, a), wb.Verify(ctx, n, b))
	}
	must(t, v.Detach(ctx, s.a))
	s.gone(t, s.a, v)
	must(t, wa.Verify(ctx, s.b, a), v.Detach(ctx, s.b))
	s.gone(t, s.b, v)
	must(t, v.Delete(ctx))
}

// expand makes volumes larger while a pod writes to them.
func expand(t *testing.T, s story) {
	for name, spec := range map[string]kernel.Spec{
		"block": {Size: 64 * mib},
		"ext4":  {FS: "ext4", Size: 64 * mib},
		"xfs":   {FS: "xfs", Size: 320 * mib},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			v := s.volume(t, spec)
			must(t, v.Attach(ctx, s.a))
			w, err := v.Write(ctx, s.a)
			must(t, err, w.Await(ctx, 20))
			must(t, v.Expand(ctx, s.a, 2*spec.Size))
			v.Spec.Size *= 2
			shown(t, s.a, v)
			must(t, w.Await(ctx, 20))
			told, err := w.End(ctx)
			must(t, err, w.Verify(ctx, s.a, told))
			if len(told.Errors) > 0 {
				t.Errorf("the pod got %v", told.Errors)
			}
			must(t, v.Detach(ctx, s.a), v.Delete(ctx))
		})
	}
}
