// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/csi/csitest"
	"github.com/rds-csi/rds-csi/nvme"
)

const (
	volumeA = actors.VolumeID("pvc-aaaaaaaa-0000-4000-8000-000000000001")
	volumeB = actors.VolumeID("pvc-bbbbbbbb-0000-4000-8000-000000000002")

	oneGiB = int64(1) << 30
)

var thisHost = actors.HostOf("0123456789ab", "worker-1")

// nodeTest is a node with a driver on it that can be restarted. Its verbs speak for volumeA.
type nodeTest struct {
	*testing.T
	dir    string
	fault  func(op, arg string) error // nil: none
	kernel *csitest.Node
	node   *csi.Node
	stale  []error // the mounts without a device that were found
	boot   string
	nqn    string // of what is staged; "": nqnOf the volume
	// volumeContext of what is staged.
	volumeContext map[string]string
	mu            sync.Mutex                                           // guards fault and size, where a watcher runs
	size          func(ctx context.Context, nqn string) (int64, error) // nil: what is asked for
	news          news
	unwatch       func() // ends the watcher that runs, see watch
	// surveyor and filesystems stand in for the kernel's where they are set before restart.
	surveyor    csi.Surveyor
	filesystems csi.Filesystems
	cap         *csipb.VolumeCapability
}

func newNodeTest(t *testing.T, c *csipb.VolumeCapability) *nodeTest {
	t.Helper()
	nt := &nodeTest{T: t, dir: t.TempDir(), boot: "boot-1", cap: c}
	nt.kernel = csitest.New(csitest.Config{Fault: func(op, arg string) error {
		nt.mu.Lock()
		fault := nt.fault
		nt.mu.Unlock()
		if fault == nil {
			return nil
		}
		return fault(op, arg)
	}, Size: func(ctx context.Context, nqn string) (int64, error) {
		nt.mu.Lock()
		size := nt.size
		nt.mu.Unlock()
		if size == nil {
			return 0, nil
		}
		return size(ctx, nqn)
	}})
	for _, dir := range []string{nt.staging(volumeA), nt.staging(volumeB)} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	nt.restart()
	return nt
}

// breaks makes the kernel fail while a watcher runs: with an error for each of some operations.
func (nt *nodeTest) breaks(ops map[string]error) {
	nt.mu.Lock()
	defer nt.mu.Unlock()
	nt.fault = func(op, _ string) error { return ops[op] }
}

// resizes makes the kernel find other sizes while a watcher runs.
func (nt *nodeTest) resizes(size func(ctx context.Context, nqn string) (int64, error)) {
	nt.mu.Lock()
	defer nt.mu.Unlock()
	nt.size = size
}

// restart replaces the driver; the kernel and the state directory stay.
func (nt *nodeTest) restart() {
	nt.Helper()
	node, err := csi.NewNode(nt.config())
	if err != nil {
		nt.Fatal(err)
	}
	nt.node = node
}

func (nt *nodeTest) config() csi.NodeConfig {
	var surveyor csi.Surveyor = nt.kernel
	if nt.surveyor != nil {
		surveyor = nt.surveyor
	}
	var files csi.Filesystems = nt.kernel
	if nt.filesystems != nil {
		files = nt.filesystems
	}
	return csi.NodeConfig{
		Node: "worker-1", Host: thisHost, StateDir: filepath.Join(nt.dir, "state"),
		Devices: nt.kernel, Mounts: nt.kernel, Filesystems: files, Surveyor: surveyor,
		StaleMount: func(err error) { nt.stale = append(nt.stale, err) },
		Boot:       nt.boot, Hooks: nt.news.hooks(),
	}
}

func (nt *nodeTest) staging(id actors.VolumeID) string {
	return filepath.Join(nt.dir, "staging", string(id))
}
func (nt *nodeTest) target(name string) string { return filepath.Join(nt.dir, name) }
func (nt *nodeTest) record(id actors.VolumeID) string {
	return filepath.Join(nt.dir, "state", string(id)+".json")
}

func nqnOf(id actors.VolumeID) string { return "nqn.2000-02.com.mikrotik:" + string(id) + ".m0abc123" }

func publishContext(id actors.VolumeID) map[string]string {
	return map[string]string{
		"nvme_address": "192.0.2.1", "nvme_port": "4420", "nvme_nqn": nqnOf(id),
		"nvme_host_nqn": thisHost.NQN, "nvme_host_id": thisHost.ID, "size_bytes": "1073741824",
	}
}

func mountCap(mode csipb.VolumeCapability_AccessMode_Mode, flags ...string) *csipb.VolumeCapability {
	return &csipb.VolumeCapability{
		AccessMode: &csipb.VolumeCapability_AccessMode{Mode: mode},
		AccessType: &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{MountFlags: flags}},
	}
}

func blockCap(mode csipb.VolumeCapability_AccessMode_Mode) *csipb.VolumeCapability {
	return &csipb.VolumeCapability{
		AccessMode: &csipb.VolumeCapability_AccessMode{Mode: mode},
		AccessType: &csipb.VolumeCapability_Block{Block: &csipb.VolumeCapability_BlockVolume{}},
	}
}

const (
	writer      = csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
	soleWriter  = csipb.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	multiWriter = csipb.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
	soleReader  = csipb.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY
	readers     = csipb.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
	oneWriter   = csipb.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER
	sharing     = csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
)

func (nt *nodeTest) stageRequest(id actors.VolumeID) *csipb.NodeStageVolumeRequest {
	pc := publishContext(id)
	if nt.nqn != "" {
		pc["nvme_nqn"] = nt.nqn
	}
	return &csipb.NodeStageVolumeRequest{
		VolumeId: string(id), StagingTargetPath: nt.staging(id), VolumeCapability: nt.cap, PublishContext: pc, VolumeContext: nt.volumeContext,
	}
}

func (nt *nodeTest) publishRequest(id actors.VolumeID, target string) *csipb.NodePublishVolumeRequest {
	return &csipb.NodePublishVolumeRequest{
		VolumeId: string(id), StagingTargetPath: nt.staging(id), TargetPath: nt.target(target), VolumeCapability: nt.cap, PublishContext: publishContext(id),
	}
}

func (nt *nodeTest) stage(id actors.VolumeID) error {
	_, err := nt.node.NodeStageVolume(context.Background(), nt.stageRequest(id))
	return err
}

func (nt *nodeTest) publish(id actors.VolumeID, target string) error {
	_, err := nt.node.NodePublishVolume(context.Background(), nt.publishRequest(id, target))
	return err
}

func (nt *nodeTest) unpublish(id actors.VolumeID, target string) error {
	_, err := nt.node.NodeUnpublishVolume(context.Background(), &csipb.NodeUnpublishVolumeRequest{VolumeId: string(id), TargetPath: nt.target(target)})
	return err
}

func (nt *nodeTest) unstage(id actors.VolumeID) error {
	_, err := nt.node.NodeUnstageVolume(context.Background(), &csipb.NodeUnstageVolumeRequest{VolumeId: string(id), StagingTargetPath: nt.staging(id)})
	return err
}

func (nt *nodeTest) inspect(path string) nvme.Entry {
	nt.Helper()
	e, err := nt.kernel.Inspect(context.Background(), path)
	if err != nil {
		nt.Fatal(err)
	}
	return e
}

func (nt *nodeTest) connections(id actors.VolumeID) []nvme.Connection {
	nt.Helper()
	conns, err := nt.kernel.Connections(context.Background(), id)
	if err != nil {
		nt.Fatal(err)
	}
	return conns
}

// wantClean fails unless nothing of the volume is left on the node.
func (nt *nodeTest) wantClean(id actors.VolumeID, targets ...string) {
	nt.Helper()
	if c := nt.connections(id); len(c) > 0 {
		nt.Errorf("connections left: %v", c)
	}
	if e := nt.inspect(nt.staging(id)); e.Mounted || e.Kind != nvme.KindDir {
		nt.Errorf("at the staging path: %+v", e)
	}
	for _, target := range targets {
		if e := nt.inspect(nt.target(target)); e.Kind != nvme.KindNone {
			nt.Errorf("at %s: %+v", target, e)
		}
	}
	if _, err := os.Stat(nt.record(id)); !errors.Is(err, fs.ErrNotExist) {
		nt.Errorf("record: %v, want none", err)
	}
}

func wantOK(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("got %v, want OK", err)
	}
}

func wantCode(t testing.TB, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(csi.Status(err)); got != want {
		t.Fatalf("got code %v (%v), want %v", got, err, want)
	}
}

// with returns a copy of m in which a key is set, or deleted where the value is "".
func with(m map[string]string, key, value string) map[string]string {
	m = maps.Clone(m)
	if m[key] = value; value == "" {
		delete(m, key)
	}
	return m
}
