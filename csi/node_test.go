// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/csi/csitest"
	"github.com/rds-csi/rds-csi/nvme"
)

func TestNodeConfig(t *testing.T) {
	nt := newNodeTest(t, nil)
	for name, spoil := range map[string]func(*csi.NodeConfig){
		"no node":          func(c *csi.NodeConfig) { c.Node = "" },
		"bad node":         func(c *csi.NodeConfig) { c.Node = "Worker_1" },
		"negative volumes": func(c *csi.NodeConfig) { c.MaxVolumes = -1 },
		"negative timeout": func(c *csi.NodeConfig) { c.Timeout = -1 },
		"half a host":      func(c *csi.NodeConfig) { c.Host.ID = "" },
		"no state":         func(c *csi.NodeConfig) { c.StateDir = "" },
		"relative state":   func(c *csi.NodeConfig) { c.StateDir = "state" },
		"no devices":       func(c *csi.NodeConfig) { c.Devices = nil },
		"no mounts":        func(c *csi.NodeConfig) { c.Mounts = nil },
		"no filesystems":   func(c *csi.NodeConfig) { c.Filesystems = nil },
	} {
		cfg := nt.config()
		spoil(&cfg)
		if _, err := csi.NewNode(cfg); !errors.Is(err, actors.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
}

func TestNodeInfo(t *testing.T) {
	nt := newNodeTest(t, nil)
	cfg := nt.config()
	cfg.MaxVolumes = 64
	node, err := csi.NewNode(cfg)
	wantOK(t, err)
	info, err := node.NodeGetInfo(t.Context(), nil)
	wantOK(t, err)
	if info.GetNodeId() != "worker-1" || info.GetMaxVolumesPerNode() != 64 || info.GetAccessibleTopology() != nil {
		t.Errorf("info %v", info)
	}
	caps, err := node.NodeGetCapabilities(t.Context(), nil)
	wantOK(t, err)
	var got []string
	for _, c := range caps.GetCapabilities() {
		got = append(got, c.GetRpc().GetType().String())
	}
	want := []string{"STAGE_UNSTAGE_VOLUME", "GET_VOLUME_STATS", "EXPAND_VOLUME", "SINGLE_NODE_MULTI_WRITER", "GET_VOLUME_HEALTH", "4"}
	if !slices.Equal(got, want) {
		t.Errorf("capabilities %v, want %v", got, want)
	}
}

// badPaths are refused wherever a path is made or removed.
var badPaths = []string{"", "relative", "/", "/a/../b", "/a//b", "/a/", "/a\x00b", "/" + strings.Repeat("a", 5000)}

func TestStageRefuses(t *testing.T) {
	type request = csipb.NodeStageVolumeRequest
	context := func(key, value string) func(*request) {
		return func(r *request) { r.PublishContext = with(r.PublishContext, key, value) }
	}
	option := func(key, value string) func(*request) {
		return func(r *request) { r.VolumeContext = map[string]string{key: value} }
	}
	capability := func(c *csipb.VolumeCapability) func(*request) {
		return func(r *request) { r.VolumeCapability = c }
	}
	fsType := func(s string) *csipb.VolumeCapability {
		c := mountCap(writer)
		c.GetMount().FsType = s
		return c
	}
	group := mountCap(writer)
	group.GetMount().VolumeMountGroup = "1000"
	cases := []struct {
		name  string
		spoil func(*request)
		want  codes.Code
	}{
		{"no volume", func(r *request) { r.VolumeId = "" }, codes.InvalidArgument},
		{"odd volume", func(r *request) { r.VolumeId = "../../etc" }, codes.NotFound},
		{"no capability", capability(nil), codes.InvalidArgument},
		{"no access type", capability(&csipb.VolumeCapability{AccessMode: blockCap(writer).AccessMode}), codes.InvalidArgument},
		{"no access mode", capability(&csipb.VolumeCapability{AccessType: blockCap(writer).AccessType}), codes.InvalidArgument},
		{"unknown access mode", capability(blockCap(99)), codes.InvalidArgument},
		{"shared filesystem", capability(mountCap(sharing)), codes.FailedPrecondition},
		{"multi-node single writer", capability(blockCap(oneWriter)), codes.FailedPrecondition},
		{"filesystem type", capability(fsType("ntfs")), codes.InvalidArgument},
		{"filesystem type with a slash", capability(fsType("../ext4")), codes.InvalidArgument},
		{"filesystem type of the context", context("fs_type", "btrfs"), codes.InvalidArgument},
		{"mount group", capability(group), codes.InvalidArgument},
		{"empty flag", capability(mountCap(writer, "")), codes.InvalidArgument},
		{"flag with a space", capability(mountCap(writer, "noatime -o bind")), codes.InvalidArgument},
		{"flag with a newline", capability(mountCap(writer, "a\nb")), codes.InvalidArgument},
		{"bind flag", capability(mountCap(writer, "bind")), codes.InvalidArgument},
		{"hidden remount flag", capability(mountCap(writer, "noatime,REMOUNT")), codes.InvalidArgument},
		{"loop flag", capability(mountCap(writer, "loop=/dev/loop0")), codes.InvalidArgument},
		{"no context", func(r *request) { r.PublishContext = nil }, codes.InvalidArgument},
		{"no address", context("nvme_address", ""), codes.InvalidArgument},
		{"address with a comma", context("nvme_address", "192.0.2.1,nqn=x"), codes.InvalidArgument},
		{"address with a zone", context("nvme_address", "fe80::1%a,nqn=x"), codes.InvalidArgument},
		{"no port", context("nvme_port", ""), codes.InvalidArgument},
		{"port 0", context("nvme_port", "0"), codes.InvalidArgument},
		{"port 65536", context("nvme_port", "65536"), codes.InvalidArgument},
		{"port range", context("nvme_port", "4420-4430"), codes.InvalidArgument},
		{"no NQN", context("nvme_nqn", ""), codes.InvalidArgument},
		{"another volume's NQN", context("nvme_nqn", nqnOf(volumeB)), codes.InvalidArgument},
		{"NQN that only begins with the volume", context("nvme_nqn", "nqn.2000-02.com.mikrotik:"+string(volumeA)+"0"), codes.InvalidArgument},
		{"NQN with a comma", context("nvme_nqn", "nqn.2000-02.com.mikrotik,traddr=x:"+string(volumeA)), codes.InvalidArgument},
		{"long NQN", context("nvme_nqn", "nqn.2000-02.com."+strings.Repeat("a", 200)+":"+string(volumeA)), codes.InvalidArgument},
		{"odd host NQN", context("nvme_host_nqn", "me,too"), codes.InvalidArgument},
		{"odd host ID", context("nvme_host_id", "1"), codes.InvalidArgument},
		{"another node's host NQN", func(r *request) {
			other := actors.HostOf("0123456789ab", "worker-2")
			r.PublishContext = with(with(r.PublishContext, "nvme_host_nqn", other.NQN), "nvme_host_id", other.ID)
		}, codes.FailedPrecondition},
		{"size 0", context("size_bytes", "0"), codes.InvalidArgument},
		{"size with a unit", context("size_bytes", "1Gi"), codes.InvalidArgument},
		{"unknown access", context("access", "rwx"), codes.InvalidArgument},
		{"reconnect delay 0", option("reconnectDelay", "0"), codes.InvalidArgument},
		{"reconnect delay with a unit", option("reconnectDelay", "5s"), codes.InvalidArgument},
		{"ctrl loss timeout -2", option("ctrlLossTmo", "-2"), codes.InvalidArgument},
		{"keep alive -1", option("keepAliveTmo", "-1"), codes.InvalidArgument},
		{"huge keep alive", option("keepAliveTmo", "99999999999999999999"), codes.InvalidArgument},
	}
	for _, path := range badPaths {
		cases = append(cases, struct {
			name  string
			spoil func(*request)
			want  codes.Code
		}{"path " + path[:min(len(path), 20)], func(r *request) { r.StagingTargetPath = path }, codes.InvalidArgument})
	}
	nt := newNodeTest(t, mountCap(writer))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			req := nt.stageRequest(volumeA)
			c.spoil(req)
			_, err := nt.node.NodeStageVolume(t.Context(), req)
			wantCode(t, err, c.want)
		})
	}
	if ops := nt.kernel.Ops(); len(ops) > 0 {
		t.Errorf("a refused request did %v", ops)
	}
}

func TestPublishRefuses(t *testing.T) {
	type request = csipb.NodePublishVolumeRequest
	nt := newNodeTest(t, blockCap(writer))
	wantOK(t, nt.stage(volumeA))
	done := len(nt.kernel.Ops())
	type refusal struct {
		spoil func(*request)
		want  codes.Code
	}
	cases := map[string]refusal{
		"no volume":                {func(r *request) { r.VolumeId = "" }, codes.InvalidArgument},
		"odd volume":               {func(r *request) { r.VolumeId = "a/b" }, codes.NotFound},
		"no staging path":          {func(r *request) { r.StagingTargetPath = "" }, codes.FailedPrecondition},
		"another staging path":     {func(r *request) { r.StagingTargetPath += "x" }, codes.FailedPrecondition},
		"relative staging path":    {func(r *request) { r.StagingTargetPath = "x" }, codes.InvalidArgument},
		"target is staging path":   {func(r *request) { r.TargetPath = r.StagingTargetPath }, codes.InvalidArgument},
		"no capability":            {func(r *request) { r.VolumeCapability = nil }, codes.InvalidArgument},
		"filesystem of a block":    {func(r *request) { r.VolumeCapability = mountCap(writer) }, codes.FailedPrecondition},
		"shared filesystem":        {func(r *request) { r.VolumeCapability = mountCap(sharing) }, codes.FailedPrecondition},
		"volume that is not here":  {func(r *request) { r.VolumeId = string(volumeB) }, codes.InvalidArgument}, // the NQN is A's
		"volume that is not stage": {func(r *request) { r.VolumeId, r.PublishContext = string(volumeB), publishContext(volumeB) }, codes.FailedPrecondition},
	}
	for _, path := range badPaths {
		cases["path "+path[:min(len(path), 20)]] = refusal{func(r *request) { r.TargetPath = path }, codes.InvalidArgument}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			req := nt.publishRequest(volumeA, "a")
			c.spoil(req)
			_, err := nt.node.NodePublishVolume(t.Context(), req)
			wantCode(t, err, c.want)
		})
	}
	if ops := nt.kernel.Ops(); len(ops) > done {
		t.Errorf("a refused request did %v", ops[done:])
	}
}

func TestUndoRefuses(t *testing.T) {
	nt := newNodeTest(t, blockCap(writer))
	wantOK(t, nt.stage(volumeA))
	ctx := t.Context()
	for _, path := range badPaths {
		_, err := nt.node.NodeUnpublishVolume(ctx, &csipb.NodeUnpublishVolumeRequest{VolumeId: string(volumeA), TargetPath: path})
		wantCode(t, err, codes.InvalidArgument)
		_, err = nt.node.NodeUnstageVolume(ctx, &csipb.NodeUnstageVolumeRequest{VolumeId: string(volumeA), StagingTargetPath: path})
		wantCode(t, err, codes.InvalidArgument)
	}
	_, err := nt.node.NodeUnpublishVolume(ctx, &csipb.NodeUnpublishVolumeRequest{TargetPath: "/a"})
	wantCode(t, err, codes.InvalidArgument)
	_, err = nt.node.NodeUnstageVolume(ctx, &csipb.NodeUnstageVolumeRequest{StagingTargetPath: "/a"})
	wantCode(t, err, codes.InvalidArgument)
	_, err = nt.node.NodeUnpublishVolume(ctx, &csipb.NodeUnpublishVolumeRequest{VolumeId: string(volumeA), TargetPath: nt.staging(volumeA)})
	wantCode(t, err, codes.InvalidArgument)

	file := nt.target("precious")
	wantOK(t, os.WriteFile(file, []byte("data"), 0o600))
	wantCode(t, nt.unpublish(volumeA, "precious"), codes.FailedPrecondition)
	if _, err := os.Stat(file); err != nil {
		t.Errorf("a file with content was removed: %v", err)
	}
}

// TestSecondPublish is the second table of NodePublishVolume in the CSI spec.
func TestSecondPublish(t *testing.T) {
	for _, c := range []struct {
		name                 string
		cap                  *csipb.VolumeCapability
		otherArgs, otherPath codes.Code
	}{
		{"single writer", mountCap(soleWriter), codes.AlreadyExists, codes.FailedPrecondition},
		{"old single writer", mountCap(writer), codes.AlreadyExists, codes.FailedPrecondition},
		{"multi writer", mountCap(multiWriter), codes.AlreadyExists, codes.OK},
		{"block multi writer", blockCap(multiWriter), codes.AlreadyExists, codes.OK},
		{"shared block", blockCap(sharing), codes.AlreadyExists, codes.OK},
	} {
		t.Run(c.name, func(t *testing.T) {
			nt := newNodeTest(t, c.cap)
			wantOK(t, nt.stage(volumeA))
			wantOK(t, nt.publish(volumeA, "a"))
			wantOK(t, nt.publish(volumeA, "a"))
			other := nt.publishRequest(volumeA, "a")
			other.Readonly = true
			_, err := nt.node.NodePublishVolume(t.Context(), other)
			wantCode(t, err, c.otherArgs)
			wantCode(t, nt.publish(volumeA, "b"), c.otherPath)
			other.TargetPath = nt.target("c")
			_, err = nt.node.NodePublishVolume(t.Context(), other)
			wantCode(t, err, c.otherPath)
			if c.otherPath == codes.OK && !nt.inspect(other.TargetPath).ReadOnly {
				t.Error("published for reading and writing, want read-only")
			}
		})
	}
}

// TestReadOnly: whatever makes a volume read-only, its device and everything made of it refuses
// writes.
func TestReadOnly(t *testing.T) {
	for name, c := range map[string]struct {
		cap    *csipb.VolumeCapability
		access string
	}{
		"one reader":      {blockCap(soleReader), ""},
		"readers":         {blockCap(readers), "ro"},
		"read-only grant": {blockCap(sharing), "ro"},
		"reader's mount":  {mountCap(readers), ""},
		"granted mount":   {mountCap(writer), "ro"},
		"mount option ro": {mountCap(writer, "noatime", "ro"), "rw"},
	} {
		t.Run(name, func(t *testing.T) {
			nt := newNodeTest(t, mountCap(writer))
			if c.cap.GetMount() != nil { // there must be a filesystem to read
				wantOK(t, nt.stage(volumeA))
				wantOK(t, nt.unstage(volumeA))
			}
			nt.cap = c.cap
			stage, publish := nt.stageRequest(volumeA), nt.publishRequest(volumeA, "a")
			stage.PublishContext = with(stage.PublishContext, "access", c.access)
			publish.PublishContext = stage.PublishContext
			_, err := nt.node.NodeStageVolume(t.Context(), stage)
			wantOK(t, err)
			_, err = nt.node.NodePublishVolume(t.Context(), publish)
			wantOK(t, err)
			if !nt.connections(volumeA)[0].Device.ReadOnly {
				t.Error("the device takes writes")
			}
			if c.cap.GetMount() != nil && !nt.inspect(nt.staging(volumeA)).ReadOnly {
				t.Error("the staging mount takes writes")
			}
			if !nt.inspect(nt.target("a")).ReadOnly {
				t.Error("the target takes writes")
			}
		})
	}
}

// TestStagedToBeRead: a volume is published for writing only as it was staged for writing.
func TestStagedToBeRead(t *testing.T) {
	eachAccess(t, func(t *testing.T, c *csipb.VolumeCapability) {
		nt := newNodeTest(t, c)
		wantOK(t, nt.stage(volumeA)) // there must be a filesystem to read
		wantOK(t, nt.unstage(volumeA))
		req := nt.stageRequest(volumeA)
		req.PublishContext = with(req.PublishContext, "access", "ro")
		_, err := nt.node.NodeStageVolume(t.Context(), req)
		wantOK(t, err)
		wantCode(t, nt.publish(volumeA, "a"), codes.FailedPrecondition)
	})
}

// TestAnotherFilesystemIsThere: what is mounted at the staging path is another volume's. It is neither published as this
// one's nor unmounted.
func TestAnotherFilesystemIsThere(t *testing.T) {
	nt := newNodeTest(t, mountCap(writer))
	wantOK(t, nt.stage(volumeA))
	wantOK(t, nt.stage(volumeB))
	other := nt.connections(volumeB)[0].Device
	wantOK(t, nt.kernel.Mount(t.Context(), other, nt.staging(volumeA), nvme.Filesystem{Type: "ext4"}))
	wantCode(t, nt.publish(volumeA, "a"), codes.FailedPrecondition)
	wantCode(t, nt.unstage(volumeA), codes.FailedPrecondition)
	if got := nt.inspect(nt.staging(volumeA)); !got.Mounted || got.Num != other.Num {
		t.Errorf("the other volume's filesystem is gone: %+v", got)
	}
}

func TestRestage(t *testing.T) {
	t.Run("other capability", func(t *testing.T) {
		nt := newNodeTest(t, mountCap(writer))
		wantOK(t, nt.stage(volumeA))
		nt.cap = blockCap(writer)
		wantCode(t, nt.stage(volumeA), codes.AlreadyExists)
	})
	t.Run("other path", func(t *testing.T) {
		nt := newNodeTest(t, blockCap(writer))
		wantOK(t, nt.stage(volumeA))
		req := nt.stageRequest(volumeA)
		req.StagingTargetPath = nt.staging(volumeB)
		_, err := nt.node.NodeStageVolume(t.Context(), req)
		wantCode(t, err, codes.FailedPrecondition)
	})
	t.Run("smaller device", func(t *testing.T) {
		nt := newNodeTest(t, mountCap(writer))
		nt.kernel = csitest.New(csitest.Config{Size: func(context.Context, string) (int64, error) { return oneGiB - 512, nil }})
		nt.restart()
		wantCode(t, nt.stage(volumeA), codes.FailedPrecondition)
		if ops := nt.kernel.Ops(); slices.ContainsFunc(ops, func(op string) bool { return strings.HasPrefix(op, "Format") }) {
			t.Errorf("formatted a device that is too small: %v", ops)
		}
		nt.wantClean(volumeA)
	})
	eachAccess(t, func(t *testing.T, c *csipb.VolumeCapability) {
		next := nqnOf(volumeA) + "d"
		nt := newNodeTest(t, c)
		wantOK(t, nt.stage(volumeA))
		wantOK(t, nt.publish(volumeA, "a"))
		req := nt.stageRequest(volumeA)
		req.PublishContext = with(req.PublishContext, "nvme_nqn", next)
		_, err := nt.node.NodeStageVolume(t.Context(), req)
		wantCode(t, err, codes.FailedPrecondition) // a pod still uses the old attachment
		wantOK(t, nt.unpublish(volumeA, "a"))
		_, err = nt.node.NodeStageVolume(t.Context(), req)
		wantOK(t, err)
		if got := nt.connections(volumeA); len(got) != 1 || got[0].NQN != next {
			t.Errorf("connections %v, want %s alone", got, next)
		}
	})
}

func TestFormatsOnce(t *testing.T) {
	nt := newNodeTest(t, mountCap(writer))
	for range 3 {
		wantOK(t, nt.stage(volumeA))
		wantOK(t, nt.unstage(volumeA))
	}
	formats := 0
	for _, op := range nt.kernel.Ops() {
		if strings.HasPrefix(op, "Format") {
			formats++
		}
	}
	if formats != 1 {
		t.Errorf("formatted %d times", formats)
	}
}

// TestNumberGivenAnew: after a reboot the device number of one volume is another's, and the node
// that was left at a target path must not lead there.
func TestNumberGivenAnew(t *testing.T) {
	nt := newNodeTest(t, blockCap(sharing))
	wantOK(t, nt.stage(volumeA))
	wantOK(t, nt.publish(volumeA, "a"))
	old := nt.inspect(nt.target("a")).Num
	nt.kernel.Reboot()
	nt.restart()
	wantOK(t, nt.stage(volumeB))
	if b := nt.connections(volumeB)[0].Device.Num; b != old {
		t.Fatalf("volume B is %v, the test needs %v", b, old)
	}
	wantOK(t, nt.stage(volumeA))
	if e := nt.inspect(nt.target("a")); e.Kind != nvme.KindNone {
		t.Errorf("volume A's old node leads to volume B: %+v", e)
	}
	wantOK(t, nt.publish(volumeA, "a"))
	if got, want := nt.inspect(nt.target("a")).Num, nt.connections(volumeA)[0].Device.Num; got != want {
		t.Errorf("published %v, want %v", got, want)
	}
}

// TestLostDevice: the kernel gave the connection up while the filesystem was mounted.
func TestLostDevice(t *testing.T) {
	nt := newNodeTest(t, mountCap(multiWriter))
	wantOK(t, nt.stage(volumeA))
	wantOK(t, nt.publish(volumeA, "a"))
	nt.kernel.SetState(nqnOf(volumeA), nvme.StateGone)
	health := nt.health(volumeA)
	if !slices.Equal(health, []string{"ConnectionLost", "StaleMount"}) {
		t.Errorf("health %v", health)
	}
	wantCode(t, nt.publish(volumeA, "b"), codes.Unavailable)
	wantOK(t, nt.stage(volumeA))
	wantOK(t, nt.publish(volumeA, "a"))
	for _, path := range []string{nt.staging(volumeA), nt.target("a")} {
		if e := nt.inspect(path); e.Stale || !e.Mounted {
			t.Errorf("%s: %+v", path, e)
		}
	}
	if !slices.Equal(nt.stale, []error{nil, nil}) {
		t.Errorf("told of stale mounts: %v, want the staging and the target path, both taken down", nt.stale)
	}
	wantOK(t, nt.unpublish(volumeA, "a"))
	wantOK(t, nt.unstage(volumeA))
	nt.wantClean(volumeA, "a")
}

// TestWithoutRecord: another driver staged the volume, or the state directory was lost.
func TestWithoutRecord(t *testing.T) {
	eachAccess(t, func(t *testing.T, c *csipb.VolumeCapability) {
		nt := newNodeTest(t, c)
		wantOK(t, nt.stage(volumeA))
		wantOK(t, os.Remove(nt.record(volumeA)))
		wantOK(t, nt.publish(volumeA, "a"))
		wantOK(t, nt.unpublish(volumeA, "a"))
		wantOK(t, os.Remove(nt.record(volumeA)))
		wantOK(t, nt.unstage(volumeA))
		nt.wantClean(volumeA, "a")
	})
}

func TestDamagedRecord(t *testing.T) {
	nt := newNodeTest(t, blockCap(writer))
	wantOK(t, nt.stage(volumeA))
	for _, text := range []string{
		"", "{", `{"version":2}`,
		`{"version":1,"volume":"` + string(volumeA) + `","nqn":"` + nqnOf(volumeB) + `"}`,
		`{"version":1,"volume":"` + string(volumeB) + `","nqn":"` + nqnOf(volumeA) + `"}`,
	} {
		wantOK(t, os.WriteFile(nt.record(volumeA), []byte(text), 0o600))
		wantCode(t, nt.unstage(volumeA), codes.FailedPrecondition)
		wantCode(t, nt.publish(volumeA, "a"), codes.FailedPrecondition)
	}
	if len(nt.connections(volumeA)) != 1 {
		t.Error("disconnected although nobody knows who uses the volume")
	}
}

// TestRecordComesFirst: what cannot be remembered is not done.
func TestRecordComesFirst(t *testing.T) {
	eachAccess(t, func(t *testing.T, c *csipb.VolumeCapability) {
		nt := newNodeTest(t, c)
		wantOK(t, os.Mkdir(nt.record(volumeA)+".tmp", 0o700))
		if err := nt.stage(volumeA); err == nil || nt.did("Connect") {
			t.Errorf("connected without a record: %v", err)
		}
		wantOK(t, os.Remove(nt.record(volumeA)+".tmp"))
		wantOK(t, nt.stage(volumeA))
		wantOK(t, os.Mkdir(nt.record(volumeA)+".tmp", 0o700))
		if err := nt.publish(volumeA, "a"); err == nil || nt.inspect(nt.target("a")).Kind != nvme.KindNone {
			t.Errorf("published without a record: %v", err)
		}
	})
}

// TestForeignNode: a node that nobody remembers is at the target path, of another device.
func TestForeignNode(t *testing.T) {
	nt := newNodeTest(t, blockCap(writer))
	wantOK(t, nt.stage(volumeA))
	wantOK(t, nt.kernel.MakeNode(t.Context(), nvme.Device{Num: nvme.DevNum{Major: 259, Minor: 77}}, nt.target("a"), false))
	wantOK(t, nt.publish(volumeA, "a"))
	if got, want := nt.inspect(nt.target("a")).Num, nt.connections(volumeA)[0].Device.Num; got != want {
		t.Errorf("published %v, want %v", got, want)
	}
}
