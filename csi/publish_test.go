// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
)

func TestPublishTellsTheNodeHowToConnect(t *testing.T) {
	r := newRig(t, nil)
	v := r.create(vol1, mount(rwo, "xfs"))
	got, err := r.publish(v, "a", mount(rwo, "xfs"))
	r.must(err)
	host := actors.HostOf(testCluster, "a")
	want := map[string]string{
		"nvme_address": testBox, "nvme_port": "4420", "nvme_nqn": actors.DefaultNQNPrefix + ":" + vol1 + ".1000",
		"nvme_host_nqn": host.NQN, "nvme_host_id": host.ID, "size_bytes": "1073741824", "fs_type": "xfs", "access": "rw",
	}
	if !maps.Equal(got, want) {
		t.Errorf("publish context\n got %v\nwant %v", got, want)
	}
	again, err := r.publish(v, "a", mount(rwo, "xfs"))
	r.must(err)
	if !maps.Equal(got, again) {
		t.Errorf("a repeat answered %v, first %v", again, got)
	}
}

func TestPublishContextByCapability(t *testing.T) {
	for _, test := range []struct {
		name            string
		made            *csipb.VolumeCapability
		asked           *csipb.VolumeCapability
		fsType, access  string
		ledger          actors.Access
		withoutVContext bool
	}{
		{name: "RWX block", made: block(rwx), asked: block(rwx), access: "rw", ledger: actors.AccessShared},
		{name: "RWOP block", made: block(rwo), asked: block(rwop), access: "rw", ledger: actors.AccessSingle},
		{name: "ROX filesystem", made: mount(rox, "ext4"), asked: mount(rox, "ext4"), fsType: "ext4", access: "ro", ledger: actors.AccessReader},
		{name: "one reader", made: block(rwo), asked: block(readerOnce), access: "ro", ledger: actors.AccessSingle},
		{name: "type from the volume", made: mount(rwo, "xfs"), asked: mount(rwo, ""), fsType: "xfs", access: "rw", ledger: actors.AccessSingle},
		{name: "type from nowhere", made: mount(rwo, ""), asked: mount(rwo, ""), fsType: "ext4", access: "rw", ledger: actors.AccessSingle, withoutVContext: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, nil)
			v := r.create(vol1, test.made)
			if test.withoutVContext {
				v.VolumeContext = nil
			}
			got, err := r.publish(v, "a", test.asked)
			r.must(err)
			if fs, ok := got["fs_type"]; fs != test.fsType || ok != (test.fsType != "") {
				t.Errorf("fs_type %q, want %q", fs, test.fsType)
			}
			if got["access"] != test.access {
				t.Errorf("access %q, want %q", got["access"], test.access)
			}
			if l := r.box.row(vol1).Ledger.Access; l != test.ledger {
				t.Errorf("granted as %v, want %v", l, test.ledger)
			}
		})
	}
}

// TestPublishOfOneReaderExcludes holds "at most one node" of SINGLE_NODE_READER_ONLY.
func TestPublishOfOneReaderExcludes(t *testing.T) {
	r := newRig(t, nil)
	v := r.create(vol1)
	_, err := r.publish(v, "a", block(readerOnce))
	r.must(err)
	_, err = r.publish(v, "b", block(readerOnce))
	r.wantCode(err, codes.FailedPrecondition, "node a")
}

func TestPublishNVMeAddress(t *testing.T) {
	for _, test := range []struct{ name, inContext, want string }{
		{"the volume's own", "10.0.9.1", "10.0.9.1"},
		{"none", "", "10.0.5.5"},
		{"the box's", testBox, "10.0.5.5"},
		{"a former one", "192.168.1.1", "10.0.5.5"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, func(c *csi.Config) { c.NVMeAddress, c.BoxAliases = "10.0.5.5", []string{"192.168.1.1"} })
			v := r.create(vol1)
			v.VolumeContext["nvmeAddress"] = test.inContext
			got, err := r.publish(v, "a", block(rwo))
			r.must(err)
			if got["nvme_address"] != test.want {
				t.Errorf("address %s, want %s", got["nvme_address"], test.want)
			}
		})
	}
}

// TestPublishAcceptsOlderContexts: Kubernetes adds a key, the older driver made others, and the box
// may have been renumbered.
func TestPublishAcceptsOlderContexts(t *testing.T) {
	r := newRig(t, func(c *csi.Config) { c.BoxAliases = []string{"rds.lab", "fd00::1"} })
	v := r.create(vol1)
	for _, m := range []map[string]string{
		nil,
		{"storage.kubernetes.io/csiProvisionerIdentity": "1-2-3", "volumePath": "/storage-pool/metal-csi"},
		{"rdsAddress": "RDS.lab", "nqn": "nqn.2000-02.com.mikrotik:" + vol1},
		{"rdsAddress": "fd00:0:0::1"},
	} {
		v.VolumeContext = m
		_, err := r.publish(v, "a", block(rwo))
		r.must(err)
	}
}

func TestPublishRefusals(t *testing.T) {
	vctx := func(k, v string) func(*csipb.ControllerPublishVolumeRequest) {
		return func(q *csipb.ControllerPublishVolumeRequest) { q.VolumeContext = map[string]string{k: v} }
	}
	volume := func(id string) func(*csipb.ControllerPublishVolumeRequest) {
		return func(q *csipb.ControllerPublishVolumeRequest) { q.VolumeId = id }
	}
	node := func(id string) func(*csipb.ControllerPublishVolumeRequest) {
		return func(q *csipb.ControllerPublishVolumeRequest) { q.NodeId = id }
	}
	capability := func(c *csipb.VolumeCapability) func(*csipb.ControllerPublishVolumeRequest) {
		return func(q *csipb.ControllerPublishVolumeRequest) { q.VolumeCapability = c }
	}
	r := newRig(t, nil)
	made := r.create(vol1)
	for _, test := range []struct {
		name   string
		change func(*csipb.ControllerPublishVolumeRequest)
		code   codes.Code
		says   string
	}{
		{"no volume", volume(""), codes.InvalidArgument, "volume_id is missing"},
		{"long volume", volume(strings.Repeat("v", 129)), codes.InvalidArgument, "longer than 128"},
		{"volume of another form", volume("fake-vol-id"), codes.NotFound, "pvc-<uuid>"},
		{"console characters", volume("pvc-$[/system reboot]"), codes.NotFound, "pvc-<uuid>"},
		{"no node", node(""), codes.InvalidArgument, "node_id is missing"},
		{"node in capitals", node("Node-A"), codes.InvalidArgument, "RFC 1123"},
		{"long node", node(strings.Repeat("n", 64)), codes.InvalidArgument, "63"},
		{"no capability", capability(nil), codes.InvalidArgument, "capability is missing"},
		{"RWX filesystem", capability(mount(rwx, "")), codes.InvalidArgument, "volumeMode: Block"},
		{"unsupported mode", capability(block(csipb.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER)), codes.InvalidArgument, "not supported"},
		{"read-only writer", func(q *csipb.ControllerPublishVolumeRequest) { q.Readonly = true }, codes.InvalidArgument, "ReadOnlyMany"},
		{"another box", vctx("rdsAddress", "10.0.0.2"), codes.InvalidArgument, "--rds-aliases"},
		{"another volume's NQN", vctx("nqn", actors.DefaultNQNPrefix+":"+vol2), codes.InvalidArgument, "not the one of volume"},
		{"NVMe address", vctx("nvmeAddress", "h,x=y"), codes.InvalidArgument, "nvmeAddress"},
		{"another filesystem", func(q *csipb.ControllerPublishVolumeRequest) {
			q.VolumeCapability, q.VolumeContext = mount(rwo, "xfs"), map[string]string{"fsType": "ext4"}
		}, codes.InvalidArgument, "holds ext4"},
		{"a filesystem on a block volume", func(q *csipb.ControllerPublishVolumeRequest) {
			q.VolumeCapability, q.VolumeContext = mount(rwo, "ext4"), made.GetVolumeContext()
		}, codes.InvalidArgument, "set volumeMode: Block"},
		{"any filesystem on a block volume", func(q *csipb.ControllerPublishVolumeRequest) {
			q.VolumeCapability, q.VolumeContext = mount(rwo, ""), made.GetVolumeContext()
		}, codes.InvalidArgument, "set volumeMode: Block"},
		{"a filesystem as a block device", vctx("fsType", "ext4"), codes.InvalidArgument, "set volumeMode: Filesystem"},
	} {
		t.Run(test.name, func(t *testing.T) {
			req := &csipb.ControllerPublishVolumeRequest{VolumeId: vol1, NodeId: "a", VolumeCapability: block(rwo)}
			test.change(req)
			_, err := r.ControllerPublishVolume(t.Context(), req)
			(&rig{T: t}).wantCode(err, test.code, test.says)
		})
	}
	r.wantWrites("create")

	_, err := r.ControllerPublishVolume(t.Context(), &csipb.ControllerPublishVolumeRequest{VolumeId: vol2, NodeId: "a", VolumeCapability: block(rwo)})
	r.wantCode(err, codes.NotFound, vol2)
	_, err = r.ControllerPublishVolume(t.Context(), &csipb.ControllerPublishVolumeRequest{VolumeId: vol1, NodeId: "gone", VolumeCapability: block(rwo)})
	r.wantCode(err, codes.NotFound, "gone")
	_, err = r.ControllerPublishVolume(t.Context(), &csipb.ControllerPublishVolumeRequest{VolumeId: vol1, NodeId: "a", VolumeCapability: block(rox), Readonly: true})
	r.must(err)
}

func TestPublishConflicts(t *testing.T) {
	r := newRig(t, nil)
	v := r.create(vol1)
	_, err := r.publish(v, "a", block(rwo))
	r.must(err)
	_, err = r.publish(v, "b", block(rwo))
	r.wantCode(err, codes.FailedPrecondition, "node a")
	_, err = r.publish(v, "a", block(rwx))
	r.wantCode(err, codes.AlreadyExists)
}

// TestPublishOfABrokenRow: the grant is there, so what is wrong with the row must not look final.
func TestPublishOfABrokenRow(t *testing.T) {
	for _, broken := range []actors.Volume{
		{NQN: "nqn.2000-02.com.mikrotik:other", Port: 4420},
		{NQN: actors.DefaultNQNPrefix + ":" + vol1, Port: 0},
	} {
		r := newRig(t, func(c *csi.Config) { c.Volumes = fixedVolumes{c.Volumes, broken} })
		v := r.create(vol1)
		_, err := r.publish(v, "a", block(rwo))
		r.wantCode(err, codes.Unavailable, "repair")
	}
}

// fixedVolumes answers every publish with one row.
type fixedVolumes struct {
	csi.Volumes
	row actors.Volume
}

func (f fixedVolumes) Publish(_ context.Context, id actors.VolumeID, _ actors.NodeID, _ actors.Access, _ actors.Policy) (actors.Volume, error) {
	f.row.ID, f.row.Exists = id, true
	return f.row, nil
}

func TestPublishFailures(t *testing.T) {
	for err, code := range map[error]codes.Code{
		actors.ErrUnresolved:   codes.Unavailable,
		actors.ErrUnavailable:  codes.Unavailable,
		actors.ErrBusy:         codes.Aborted,
		actors.ErrPrecondition: codes.FailedPrecondition,
	} {
		r := newRig(t, nil)
		v := r.create(vol1)
		r.box.failWith("publish", fmt.Errorf("box says no: %w", err))
		_, got := r.publish(v, "a", block(rwo))
		r.wantCode(got, code, "box says no")
	}
}
