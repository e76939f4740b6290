// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
)

// gib is a request that nothing is wrong with.
func gib() *csipb.CreateVolumeRequest {
	return &csipb.CreateVolumeRequest{
		Name:               vol1,
		VolumeCapabilities: []*csipb.VolumeCapability{block(rwx)},
		CapacityRange:      &csipb.CapacityRange{RequiredBytes: 1 << 30},
		Parameters:         map[string]string{},
	}
}

func TestCreateVolumeMakesWhatWasAskedFor(t *testing.T) {
	r := newRig(t, nil)
	req := gib()
	req.VolumeCapabilities = []*csipb.VolumeCapability{mount(rwo, "xfs")}
	req.Parameters = map[string]string{
		"rdsAddress": testBox, "nvmeAddress": "10.0.9.1", "nvmePort": "5000-5100", "sshPort": "22", "fsType": "xfs",
		"volumePath": "/raid10/vm/", "nqnPrefix": "nqn.2024-01.io.example:rds", "ctrlLossTmo": "600", "reconnectDelay": "2",
		"keepAliveTmo": "10", "migrationTimeoutSeconds": "900", "fencing": "host", "rwxPolicy": "kubevirt",
		"csi.storage.k8s.io/pvc/name": "disk", "csi.storage.k8s.io/pvc/namespace": "vms", "csi.storage.k8s.io/pv/name": vol1,
	}
	resp, err := r.CreateVolume(t.Context(), req)
	r.must(err)
	want := map[string]string{
		"rdsAddress": testBox, "nvmeAddress": "10.0.9.1", "nvmePort": "5000", "fsType": "xfs", "volumePath": "/raid10/vm",
		"nqn": "nqn.2024-01.io.example:rds:" + vol1, "ctrlLossTmo": "600", "reconnectDelay": "2", "keepAliveTmo": "10",
		"migrationTimeoutSeconds": "900", "fencing": "host", "rwxPolicy": "kubevirt",
	}
	if got := resp.GetVolume().GetVolumeContext(); !maps.Equal(got, want) {
		t.Errorf("volume context\n got %v\nwant %v", got, want)
	}
	if v := resp.GetVolume(); v.GetVolumeId() != vol1 || v.GetCapacityBytes() != 1<<30 || v.GetContentSource() != nil || v.GetAccessibleTopology() != nil {
		t.Errorf("volume %v", v)
	}
	row := r.box.row(vol1)
	if l := (actors.Ledger{Cluster: testCluster, Gen: 1, Fencing: actors.FencingHost, Timeout: 900, Prefix: "nqn.2024-01.io.example:rds"}); row.Ledger.String() != l.String() {
		t.Errorf("ledger %v, want %v", row.Ledger, l)
	}
	r.wantWrites("create")
}

func TestCreateVolumeDefaults(t *testing.T) {
	r := newRig(t, nil)
	resp, err := r.CreateVolume(t.Context(), &csipb.CreateVolumeRequest{Name: vol1, VolumeCapabilities: []*csipb.VolumeCapability{mount(rwop, "")}})
	r.must(err)
	want := map[string]string{
		"rdsAddress": testBox, "nvmeAddress": testBox, "nvmePort": "4420", "fsType": "ext4", "volumePath": "/raid10/volumes",
		"nqn": "nqn.2000-02.com.mikrotik:" + vol1, "ctrlLossTmo": "-1", "reconnectDelay": "5", "keepAliveTmo": "0",
		"migrationTimeoutSeconds": "300", "fencing": "epoch", "rwxPolicy": "auto",
	}
	if got := resp.GetVolume().GetVolumeContext(); !maps.Equal(got, want) {
		t.Errorf("volume context\n got %v\nwant %v", got, want)
	}
	if got := resp.GetVolume().GetCapacityBytes(); got != 1<<30 {
		t.Errorf("size %d without a range", got)
	}
}

func TestCreateVolumeTakesTheFilesystemOfTheStorageClass(t *testing.T) {
	for _, key := range []string{"fsType", "csi.storage.k8s.io/fstype"} {
		r := newRig(t, nil)
		req := gib()
		req.VolumeCapabilities = []*csipb.VolumeCapability{mount(rwo, "")}
		req.Parameters[key] = "xfs"
		resp, err := r.CreateVolume(t.Context(), req)
		r.must(err)
		if got := resp.GetVolume().GetVolumeContext()["fsType"]; got != "xfs" {
			t.Errorf("%s: the volume gets %s", key, got)
		}
	}
}

// TestCreateVolumeRefusals walks what may be wrong with a request. None of it reaches the box.
func TestCreateVolumeRefusals(t *testing.T) {
	param := func(k, v string) func(*csipb.CreateVolumeRequest) {
		return func(q *csipb.CreateVolumeRequest) { q.Parameters[k] = v }
	}
	caps := func(c ...*csipb.VolumeCapability) func(*csipb.CreateVolumeRequest) {
		return func(q *csipb.CreateVolumeRequest) { q.VolumeCapabilities = c }
	}
	size := func(required, limit int64) func(*csipb.CreateVolumeRequest) {
		return func(q *csipb.CreateVolumeRequest) {
			q.CapacityRange = &csipb.CapacityRange{RequiredBytes: required, LimitBytes: limit}
		}
	}
	name := func(s string) func(*csipb.CreateVolumeRequest) {
		return func(q *csipb.CreateVolumeRequest) { q.Name = s }
	}
	group := mount(rwo, "ext4")
	group.GetMount().VolumeMountGroup = "1000"
	tests := []struct {
		name   string
		change func(*csipb.CreateVolumeRequest)
		code   codes.Code
		says   string
	}{
		{"no name", name(""), codes.InvalidArgument, "name is missing"},
		{"long name", name(strings.Repeat("x", 129)), codes.InvalidArgument, "longer than 128"},
		{"control character", name("a\x00b"), codes.InvalidArgument, "U+0000"},
		{"C1 control character", name("a\u0085b"), codes.InvalidArgument, "U+0085"},

		{"no capabilities", caps(), codes.InvalidArgument, "volume_capabilities are missing"},
		{"no access mode", caps(block(csipb.VolumeCapability_AccessMode_UNKNOWN)), codes.InvalidArgument, "no access mode"},
		{"no access type", caps(&csipb.VolumeCapability{AccessMode: &csipb.VolumeCapability_AccessMode{Mode: rwo}}), codes.InvalidArgument, "set block or mount"},
		{"RWX filesystem", caps(mount(rwx, "ext4")), codes.InvalidArgument, "volumeMode: Block"},
		{"RWX filesystem as the second", caps(mount(rwo, "ext4"), mount(rwx, "ext4")), codes.InvalidArgument, "volumeMode: Block"},
		{"single writer of many", caps(block(csipb.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER)), codes.InvalidArgument, "use ReadWriteOnce"},
		{"mode of a later version", caps(block(99)), codes.InvalidArgument, "not supported"},
		{"block and filesystem", caps(block(rwo), mount(rwo, "ext4")), codes.InvalidArgument, "one of block and mount"},
		{"two filesystems", caps(mount(rwo, "ext4"), mount(rox, "xfs")), codes.InvalidArgument, "one of ext4 and xfs"},
		{"unknown filesystem", caps(mount(rwo, "btrfs")), codes.InvalidArgument, "ext4, xfs"},
		{"mount group", caps(group), codes.InvalidArgument, "fsGroup"},
		{"mount flags too long", caps(mount(rwo, "", strings.Repeat("o", 4097))), codes.InvalidArgument, "4096"},

		{"negative size", size(-1, 0), codes.InvalidArgument, "required_bytes"},
		{"negative limit", size(0, -1), codes.InvalidArgument, "limit_bytes"},
		{"limit below", size(1<<30, 1<<29), codes.InvalidArgument, "less than required_bytes"},
		{"no sector in between", size(513, 1000), codes.OutOfRange, "multiple of 512"},
		{"limit below a sector", size(0, 511), codes.OutOfRange, "multiple of 512"},
		{"largest number", size(math.MaxInt64, 0), codes.OutOfRange, "larger than any pool"},
		{"larger than the pool", size(1<<50, 0), codes.OutOfRange, "ask for less"},

		{"unknown parameter", param("fenceing", "host"), codes.InvalidArgument, `"fenceing" is unknown: those of this driver are rdsAddress, nvmeAddress`},
		{"parameter in other case", param("fstype", "xfs"), codes.InvalidArgument, "fsType"},
		{"another box", param("rdsAddress", "10.0.0.2"), codes.InvalidArgument, "serves the box 10.0.0.1"},
		{"box with a port", param("rdsAddress", "10.0.0.1:8728"), codes.InvalidArgument, "without a port"},
		{"NVMe address", param("nvmeAddress", "a b"), codes.InvalidArgument, "parameter nvmeAddress"},
		{"mistyped NVMe address", param("nvmeAddress", "10.0.9.999"), codes.InvalidArgument, "parameter nvmeAddress"},
		{"NVMe address that lacks a part", param("nvmeAddress", "10.0.9"), codes.InvalidArgument, "parameter nvmeAddress"},
		{"NVMe address with options", param("nvmeAddress", "h,nqn=x"), codes.InvalidArgument, "parameter nvmeAddress"},
		{"low port", param("nvmePort", "80"), codes.InvalidArgument, "1024 to 65535"},
		{"high port", param("nvmePort", "65536"), codes.InvalidArgument, "1024 to 65535"},
		{"range backwards", param("nvmePort", "5000-4000"), codes.InvalidArgument, "range like 4420-8515"},
		{"half a range", param("nvmePort", "5000-"), codes.InvalidArgument, "range like 4420-8515"},
		{"SSH port", param("sshPort", "0"), codes.InvalidArgument, "1 to 65535"},
		{"filesystem", param("fsType", "ntfs"), codes.InvalidArgument, "ext4, xfs"},
		{"relative path", param("volumePath", "raid10"), codes.InvalidArgument, "absolute"},
		{"root path", param("volumePath", "//"), codes.InvalidArgument, "absolute"},
		{"dotted path", param("volumePath", "/raid10/../x"), codes.InvalidArgument, ".."},
		{"double slash", param("volumePath", "/raid10//x"), codes.InvalidArgument, "empty"},
		{"path with console characters", param("volumePath", "/raid10/[x]"), codes.InvalidArgument, "letters, digits"},
		{"long path", param("volumePath", "/"+strings.Repeat("p", 128)), codes.InvalidArgument, "longer than 128"},
		{"NQN prefix", param("nqnPrefix", "iqn.2000-02.com.mikrotik"), codes.InvalidArgument, "nqn.<yyyy-mm>"},
		{"NQN prefix with a comma", param("nqnPrefix", "nqn.2000-02.com,hostnqn=x"), codes.InvalidArgument, "nqn.<yyyy-mm>"},
		{"long NQN prefix", param("nqnPrefix", "nqn.2000-02."+strings.Repeat("c", 67)), codes.InvalidArgument, "at most 77 bytes"},
		{"loss timeout", param("ctrlLossTmo", "-2"), codes.InvalidArgument, "-1 to 86400"},
		{"no number", param("ctrlLossTmo", "+5"), codes.InvalidArgument, "whole number"},
		{"reconnect delay", param("reconnectDelay", "0"), codes.InvalidArgument, "1 to 60"},
		{"keep alive", param("keepAliveTmo", "301"), codes.InvalidArgument, "0 to 300"},
		{"short migration", param("migrationTimeoutSeconds", "29"), codes.InvalidArgument, "30 to 3600"},
		{"long migration", param("migrationTimeoutSeconds", "3601"), codes.InvalidArgument, "30 to 3600"},
		{"fencing", param("fencing", "stonith"), codes.InvalidArgument, "epoch, host, none"},
		{"policy", param("rwxPolicy", "never"), codes.InvalidArgument, "auto, kubevirt, any"},

		{"host fencing without time to bounce", func(q *csipb.CreateVolumeRequest) {
			q.Parameters["fencing"], q.Parameters["reconnectDelay"] = "host", "1"
		}, codes.InvalidArgument, "use 2 or more"},
		{"two spellings of the filesystem", func(q *csipb.CreateVolumeRequest) {
			q.Parameters["fsType"], q.Parameters["csi.storage.k8s.io/fstype"] = "xfs", "ext4"
		}, codes.InvalidArgument, "contradicts"},
		{"capability against parameter", func(q *csipb.CreateVolumeRequest) {
			q.VolumeCapabilities, q.Parameters["fsType"] = []*csipb.VolumeCapability{mount(rwo, "ext4")}, "xfs"
		}, codes.InvalidArgument, "ask for one"},
		{"small xfs", func(q *csipb.CreateVolumeRequest) {
			q.VolumeCapabilities = []*csipb.VolumeCapability{mount(rwo, "xfs")}
			q.CapacityRange.RequiredBytes = 1 << 20
		}, codes.OutOfRange, "too few for xfs"},
		{"source", func(q *csipb.CreateVolumeRequest) {
			q.VolumeContentSource = &csipb.VolumeContentSource{Type: &csipb.VolumeContentSource_Volume{Volume: &csipb.VolumeContentSource_VolumeSource{VolumeId: vol2}}}
		}, codes.InvalidArgument, "volume_content_source is not supported"},
		{"topology", func(q *csipb.CreateVolumeRequest) { q.AccessibilityRequirements = &csipb.TopologyRequirement{} }, codes.InvalidArgument, "accessibility_requirements"},
		{"mutable parameters", func(q *csipb.CreateVolumeRequest) { q.MutableParameters = map[string]string{"iops": "5"} }, codes.InvalidArgument, "volumeAttributesClassName"},
	}
	r := newRig(t, nil)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req := gib()
			test.change(req)
			_, err := r.CreateVolume(t.Context(), req)
			(&rig{T: t}).wantCode(err, test.code, test.says)
		})
	}
	r.wantWrites()
}

func TestCreateVolumeNeedsAVolumePath(t *testing.T) {
	r := newRig(t, func(c *csi.Config) { c.VolumePath = "" })
	_, err := r.CreateVolume(t.Context(), gib())
	r.wantCode(err, codes.InvalidArgument, "volumePath is missing")
	r.wantWrites()
}

func TestCreateVolumeSizes(t *testing.T) {
	for _, test := range []struct{ required, limit, want int64 }{
		{0, 0, 1 << 30},
		{1, 0, 512},
		{512, 512, 512},
		{513, 0, 1024},
		{1500 << 30, 0, 1500 << 30}, // not 1 TiB
		{1<<40 + 1, 0, 1<<40 + 512},
		{0, 1000, 512},
		{0, 1 << 40, 1 << 30},
		{1 << 30, 1<<30 + 100, 1 << 30},
	} {
		t.Run(fmt.Sprintf("%d-%d", test.required, test.limit), func(t *testing.T) {
			r := newRig(t, nil)
			req := gib()
			req.CapacityRange = &csipb.CapacityRange{RequiredBytes: test.required, LimitBytes: test.limit}
			resp, err := r.CreateVolume(t.Context(), req)
			r.must(err)
			if got := resp.GetVolume().GetCapacityBytes(); got != test.want || r.box.row(vol1).Size != test.want {
				t.Errorf("answered %d, made %d, want %d", got, r.box.row(vol1).Size, test.want)
			}
		})
	}
}

func TestCreateVolumeNames(t *testing.T) {
	r := newRig(t, nil)
	if got := r.create(vol1).GetVolumeId(); got != vol1 {
		t.Errorf("name %s became %s", vol1, got)
	}
	// The derived ID is a promise to volumes that exist: it must never change.
	other := r.create("my disk, älter").GetVolumeId()
	if want := "pvc-e96ec6c6-9c7b-539a-a96b-5bcda3ebaf63"; other != want {
		t.Errorf("other name became %s, want %s", other, want)
	}
	if again := r.create("my disk, älter").GetVolumeId(); again != other {
		t.Errorf("the same name became %s and %s", other, again)
	}
	if upper := r.create(strings.ToUpper(vol1)).GetVolumeId(); upper == vol1 {
		t.Error("two names became one volume")
	}
	r.wantWrites("create", "create", "create")
}

func TestCreateVolumeAgain(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*csipb.CreateVolumeRequest)
		says   string // empty: it is the same volume
	}{
		{"same", func(*csipb.CreateVolumeRequest) {}, ""},
		{"range that holds it", func(q *csipb.CreateVolumeRequest) {
			q.CapacityRange = &csipb.CapacityRange{RequiredBytes: 1 << 20, LimitBytes: 1 << 31}
		}, ""},
		{"no range", func(q *csipb.CreateVolumeRequest) { q.CapacityRange = nil }, ""},
		{"another access mode", func(q *csipb.CreateVolumeRequest) { q.VolumeCapabilities = []*csipb.VolumeCapability{block(rwo)} }, ""},
		{"larger", func(q *csipb.CreateVolumeRequest) { q.CapacityRange.RequiredBytes = 1<<30 + 1 }, "size"},
		{"smaller", func(q *csipb.CreateVolumeRequest) { q.CapacityRange = &csipb.CapacityRange{LimitBytes: 1 << 20} }, "size"},
		{"fencing", func(q *csipb.CreateVolumeRequest) { q.Parameters["fencing"] = "none" }, "fencing epoch, asked for is none"},
		{"timeout", func(q *csipb.CreateVolumeRequest) { q.Parameters["migrationTimeoutSeconds"] = "60" }, "migrationTimeoutSeconds"},
		{"prefix", func(q *csipb.CreateVolumeRequest) { q.Parameters["nqnPrefix"] = "nqn.2024-01.io.example" }, "nqnPrefix"},
		{"port", func(q *csipb.CreateVolumeRequest) { q.Parameters["nvmePort"] = "5000" }, "nvmePort"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, nil)
			first, err := r.CreateVolume(t.Context(), gib())
			r.must(err)
			req := gib()
			test.change(req)
			second, err := r.CreateVolume(t.Context(), req)
			r.wantWrites("create")
			if test.says != "" {
				r.wantCode(err, codes.AlreadyExists, test.says)
				return
			}
			r.must(err)
			if !maps.Equal(first.GetVolume().GetVolumeContext(), second.GetVolume().GetVolumeContext()) || second.GetVolume().GetCapacityBytes() != 1<<30 {
				t.Errorf("first %v, then %v", first, second)
			}
		})
	}
}

// TestCreateVolumeRace is a request that waited while another one made the volume: what it gets back
// is compared too.
func TestCreateVolumeRace(t *testing.T) {
	r := newRig(t, nil)
	made := actors.Volume{
		ID: vol1, Exists: true, Ours: true, Size: 1 << 31, NQN: actors.DefaultNQNPrefix + ":" + vol1, Port: 4420,
		Ledger: actors.Ledger{Cluster: testCluster, Gen: 1, Fencing: actors.FencingEpoch, Timeout: 300},
	}
	r2 := newRig(t, func(c *csi.Config) { c.Volumes = lateVolumes{r.volumes}; c.Storage = r.box })
	r.box.put(made)
	req := gib()
	req.CapacityRange.LimitBytes = 1 << 30
	_, err := r2.CreateVolume(t.Context(), req)
	r.wantCode(err, codes.AlreadyExists, "size")
}

// lateVolumes does not see yet what is on the box.
type lateVolumes struct{ *fakeVolumes }

func (lateVolumes) Get(_ context.Context, id actors.VolumeID) (actors.Volume, error) {
	return actors.Volume{ID: id}, nil
}

// TestCreateVolumeAfterADelete: a volume that was there when the request came, and is deleted before
// its turn, is made anew and not answered for.
func TestCreateVolumeAfterADelete(t *testing.T) {
	var r *rig
	r = newRig(t, func(c *csi.Config) {
		c.Volumes = queued{c.Volumes, actors.OpCreate, func() {
			if r.box.row(vol1).Exists {
				r.must(r.box.Delete(t.Context(), vol1))
			}
		}}
	})
	for range 2 {
		_, err := r.CreateVolume(t.Context(), gib())
		r.must(err)
	}
	if !r.box.row(vol1).Exists {
		t.Error("a volume that is not there was answered for")
	}
	r.wantWrites("create", "delete", "create")
}

func TestCreateVolumeKeysTellRequestsApart(t *testing.T) {
	seen := map[string]string{}
	for name, change := range map[string]func(*csipb.CreateVolumeRequest){
		"plain":   func(*csipb.CreateVolumeRequest) {},
		"size":    func(q *csipb.CreateVolumeRequest) { q.CapacityRange.RequiredBytes++ },
		"path":    func(q *csipb.CreateVolumeRequest) { q.Parameters["volumePath"] = "/other" },
		"prefix":  func(q *csipb.CreateVolumeRequest) { q.Parameters["nqnPrefix"] = "nqn.2024-01.io.example" },
		"port":    func(q *csipb.CreateVolumeRequest) { q.Parameters["nvmePort"] = "5000" },
		"fencing": func(q *csipb.CreateVolumeRequest) { q.Parameters["fencing"] = "none" },
		"timeout": func(q *csipb.CreateVolumeRequest) { q.Parameters["migrationTimeoutSeconds"] = "60" },
	} {
		r := newRig(t, nil)
		req := gib()
		change(req)
		_, err := r.CreateVolume(t.Context(), req)
		r.must(err)
		key := r.volumes.keys[0]
		if other, ok := seen[key]; ok {
			t.Errorf("%s and %s have the same key %q: one would be answered for the other", name, other, key)
		}
		seen[key] = name
	}
}

func TestCreateVolumeFailures(t *testing.T) {
	for _, test := range []struct {
		call string
		err  error
		code codes.Code
	}{
		{"get", actors.ErrUnavailable, codes.Unavailable},
		{"capacity", actors.ErrUnavailable, codes.Unavailable},
		{"create", actors.ErrUnavailable, codes.Unavailable},
		{"create", actors.ErrUnresolved, codes.Unavailable},
		{"create", actors.ErrFull, codes.ResourceExhausted},
		{"exclusive", actors.ErrBusy, codes.Aborted},
	} {
		r := newRig(t, nil)
		r.box.failWith(test.call, fmt.Errorf("box says no: %w", test.err))
		_, err := r.CreateVolume(t.Context(), gib())
		r.wantCode(err, test.code, "box says no")
	}
}

// TestCreateVolumeBelievesTheBox: an acknowledged volume that the box does not show may be there yet.
func TestCreateVolumeBelievesTheBox(t *testing.T) {
	r := newRig(t, func(c *csi.Config) { c.Storage = emptyBox{c.Storage} })
	_, err := r.CreateVolume(t.Context(), gib())
	r.wantCode(err, codes.Unavailable, "does not show it")
}

// An emptyBox acknowledges volumes and does not make them.
type emptyBox struct{ csi.Storage }

func (emptyBox) Create(_ context.Context, s actors.Spec) (actors.Volume, error) {
	return actors.Volume{ID: s.ID}, nil
}

func TestCreateVolumeLeavesOtherRowsAlone(t *testing.T) {
	foreign := foreignRow(vol1)
	older := foreign
	older.Ours, older.Ledger = false, actors.Ledger{}
	for says, row := range map[string]actors.Volume{"belongs to cluster ffffffffffff": foreign, "without a ledger": older} {
		r := newRig(t, nil)
		r.box.put(row)
		_, err := r.CreateVolume(t.Context(), gib())
		r.wantCode(err, codes.FailedPrecondition, says, "not supported yet")
		r.wantWrites()
	}
}
