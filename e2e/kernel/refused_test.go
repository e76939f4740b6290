// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"maps"
	"strconv"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/e2e/kernel"
)

// fabrics is the device by which a kernel is asked to connect.
const fabrics = "/dev/nvme-fabrics"

// refused asks nodes for what they cannot do. They say why, with the right code, and are left as they were.
func refused(t *testing.T, s story) {
	ctx := t.Context()
	block, files := s.volume(t, kernel.Spec{Size: 64 * mib}), s.volume(t, kernel.Spec{FS: "ext4", Size: 64 * mib})
	hosts := s.volume(t, kernel.Spec{Size: 64 * mib, Parameters: map[string]string{"fencing": "host"}})
	grants := map[*kernel.Volume]map[string]string{}
	for _, v := range []*kernel.Volume{block, files, hosts} {
		grant, err := v.Grant(ctx, s.a)
		must(t, err)
		grants[v] = grant
	}
	// It takes a while, and needs the other node alone.
	small := make(chan error, 1)
	must(t, s.b.Call(ctx, api.MakeDir, api.Path{Path: files.Staging()}, nil))
	larger := s.request(t, files, grants[files], map[string]string{"size_bytes": strconv.Itoa(128 * mib)}, s.b)
	go func() { small <- files.StageAs(ctx, s.b, larger) }()

	for _, c := range []struct {
		name    string
		v       *kernel.Volume
		n       *guest.Node
		prepare func(t *testing.T) // undone when the test ends
		context map[string]string  // what differs in the publish context
		change  func(r *csipb.NodeStageVolumeRequest)
		code    codes.Code
		says    string
	}{
		{
			name: "no module nvme-tcp", v: block, n: s.a, prepare: func(t *testing.T) { s.unload(t, s.a, "nvme_tcp") },
			code: codes.FailedPrecondition, says: "nvme-tcp is not loaded, load it on the node",
		},
		{
			name: "no NVMe over fabrics", v: block, n: s.a, prepare: func(t *testing.T) { s.unload(t, s.a, "nvme_tcp", "nvme_fabrics") },
			code: codes.FailedPrecondition, says: "load the kernel module nvme-tcp",
		},
		{
			name: "a file in the place of the device", v: block, n: s.a, prepare: func(t *testing.T) {
				s.unload(t, s.a, "nvme_tcp", "nvme_fabrics")
				s.file(t, s.a, fabrics)
			},
			code: codes.FailedPrecondition, says: "not a character device, mount the host's /dev",
		},
		{
			name: "a host that is not allowed", v: hosts, n: s.b,
			code: codes.FailedPrecondition, says: "not attached to this node any more, detach and attach it again",
		},
		{
			name: "another node's publish context", v: block, n: s.b, change: func(r *csipb.NodeStageVolumeRequest) { r.PublishContext = grants[block] },
			code: codes.FailedPrecondition, says: "cluster ID and node name must agree",
		},
		{
			name: "an NQN that is not exported", v: block, n: s.a, context: map[string]string{"nvme_nqn": grants[block]["nvme_nqn"] + "0"},
			code: codes.Unavailable, says: "detach and attach the volume again",
		},
		{
			name: "another volume's NQN", v: block, n: s.a, context: map[string]string{"nvme_nqn": grants[files]["nvme_nqn"]},
			code: codes.InvalidArgument, says: "does not name volume",
		},
		{
			name: "a port that nobody serves", v: block, n: s.a, context: map[string]string{"nvme_port": "1"},
			code: codes.Unavailable, says: "reach target",
		},
		{
			name: "an unknown file system", v: files, n: s.a, change: func(r *csipb.NodeStageVolumeRequest) { r.VolumeCapability.GetMount().FsType = "btrfs" },
			code: codes.InvalidArgument, says: "ext4",
		},
		{
			name: "a staging path that is a file", v: files, n: s.a, prepare: func(t *testing.T) { s.file(t, s.a, files.Staging()) },
			code: codes.FailedPrecondition, says: "is not a directory, create it",
		},
		{
			name: "a staging path that is not there", v: files, n: s.a, change: func(r *csipb.NodeStageVolumeRequest) { r.StagingTargetPath += "-2" },
			code: codes.FailedPrecondition, says: "is not a directory, create it",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := t.Context()
			r := s.request(t, c.v, grants[c.v], c.context, c.n)
			if c.prepare != nil {
				c.prepare(t)
			}
			if c.change != nil {
				c.change(r)
			}
			wantError(t, c.v.StageAs(ctx, c.n, r), c.code, c.says)
			if !final(c.code) {
				must(t, c.v.Unstage(ctx, c.n))
			}
			if c.n == s.a { // the other one is busy
				s.gone(t, s.a, c.v)
			}
		})
	}
	wantError(t, <-small, codes.FailedPrecondition, "is smaller than the volume, repair the disk's row on the box")
	s.gone(t, s.b, files)
	for _, v := range []*kernel.Volume{block, files, hosts} {
		must(t, v.Revoke(ctx, s.a))
	}
	// What was refused is as good as before.
	must(t, files.Attach(ctx, s.a))
	shown(t, s.a, files)
	must(t, files.Detach(ctx, s.a))
	for _, v := range []*kernel.Volume{block, files, hosts} {
		must(t, v.Delete(ctx))
	}
	s.gone(t, s.a, files)
}

// request is what kubelet asks a node for, with a publish context that is made out for that node and differs in some
// keys from what was granted.
func (s story) request(t *testing.T, v *kernel.Volume, grant, differs map[string]string, n *guest.Node) *csipb.NodeStageVolumeRequest {
	t.Helper()
	grant = maps.Clone(grant)
	grant["nvme_host_nqn"], grant["nvme_host_id"] = n.Host().NQN, n.Host().ID
	maps.Copy(grant, differs)
	r, ok := proto.Clone(v.StageRequest(grant)).(*csipb.NodeStageVolumeRequest)
	if !ok {
		t.Fatal("a clone of another kind")
	}
	return r
}

// unload takes modules out of a node's kernel until the test ends.
func (s story) unload(t *testing.T, n *guest.Node, modules ...string) {
	t.Helper()
	for _, name := range modules {
		must(t, n.Call(t.Context(), api.Unload, api.Module{Name: name}, nil))
		t.Cleanup(func() {
			if err := n.Call(context.WithoutCancel(t.Context()), api.Load, api.Module{Name: name}, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// file puts a file at a path of a node until the test ends.
func (s story) file(t *testing.T, n *guest.Node, path string) {
	t.Helper()
	must(t, n.Call(t.Context(), api.Write, api.Content{Path: path, Data: []byte("kept")}, nil))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		var file api.Content
		err := n.Call(ctx, api.Read, api.Path{Path: path}, &file)
		if err == nil {
			err = n.Call(ctx, api.Remove, api.Path{Path: path}, nil)
		}
		if err != nil || string(file.Data) != "kept" {
			t.Errorf("the file at %s: %q, %v", path, file.Data, err)
		}
	})
}
