// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme/host"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// A demoStep is one line of the story. What it says is printed below its line.
type demoStep struct {
	title string
	do    func(context.Context, *demoStage) (string, error)
}

var story = []demoStep{
	{"Create a 1 GiB ReadWriteMany block volume, fencing: host", createVolume},
	{"Publish to node-a, where the VM runs", publishTo("node-a")},
	{"node-a connects over NVMe/TCP and its VM begins to write", firstWrites},
	{"Publish to node-b: a live migration has started", startMigration},
	{"node-b reads what node-a wrote, while node-a goes on writing", readOnBoth},
	{"Publish to node-c is refused: two nodes at most", refuseThird},
	{"Hand-off: the VM goes on writing on node-b", handOff},
	{"node-a is lost, still connected and writing: unpublish it", fenceLost},
	{"node-b reconnected by itself and its VM goes on", survive},
	{"node-a tries to write: nothing of it is on the disk", provefence},
	{"ReadWriteMany with a filesystem is refused", refuseFilesystem},
	{"Detach node-b and delete the volume", deleteVolume},
	{"Nothing is left on the box", nothingLeft},
}

const (
	demoName = "pvc-5a4d1a7e-0c1d-4b7e-9a2b-3f1de30de300"
	ringA    = int64(0)
	ringB    = int64(64 << 20)
	demoSize = int64(1 << 30)
)

func sharedBlock() *csipb.VolumeCapability {
	return &csipb.VolumeCapability{
		AccessMode: &csipb.VolumeCapability_AccessMode{Mode: csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
		AccessType: &csipb.VolumeCapability_Block{Block: &csipb.VolumeCapability_BlockVolume{}},
	}
}

func createVolume(ctx context.Context, st *demoStage) (string, error) {
	r, err := st.controller.CreateVolume(ctx, &csipb.CreateVolumeRequest{
		Name: demoName, CapacityRange: &csipb.CapacityRange{RequiredBytes: demoSize},
		VolumeCapabilities: []*csipb.VolumeCapability{sharedBlock()},
		Parameters: map[string]string{
			"fencing":        "host",
			"reconnectDelay": strconv.Itoa(int(demoReconnectDelay / time.Second)),
		},
	})
	if err != nil {
		return "", err
	}
	st.volume = r.GetVolume()
	disks := st.box.Disks()
	if len(disks) != 1 || disks[0].Size != demoSize || disks[0].Export {
		return "", fmt.Errorf("the box shows %+v", disks)
	}
	return fmt.Sprintf("the box has a disk of exactly %d bytes, not exported", disks[0].Size), nil
}

// publish asks for a grant and returns the publish context.
func (st *demoStage) publish(ctx context.Context, node string) (map[string]string, error) {
	r, err := st.controller.ControllerPublishVolume(ctx, &csipb.ControllerPublishVolumeRequest{
		VolumeId: st.volume.GetVolumeId(), NodeId: node, VolumeCapability: sharedBlock(), VolumeContext: st.volume.GetVolumeContext(),
	})
	return r.GetPublishContext(), err
}

func publishTo(node string) func(context.Context, *demoStage) (string, error) {
	return func(ctx context.Context, st *demoStage) (string, error) {
		publish, err := st.publish(ctx, node)
		if err != nil {
			return "", err
		}
		h, err := connectHost(ctx, node, publish)
		if err != nil {
			return "", err
		}
		st.hosts[node] = h
		return "exported as " + publish["nvme_nqn"], nil
	}
}

func startMigration(ctx context.Context, st *demoStage) (string, error) {
	if _, err := publishTo("node-b")(ctx, st); err != nil {
		return "", err
	}
	a, err := st.told.only(actors.MigrationStarted)
	return fmt.Sprintf("%v: source %s, target %s, timeout %v", a.Kind, a.Source, a.Target, a.Timeout), err
}

func firstWrites(ctx context.Context, st *demoStage) (string, error) {
	a := st.hosts["node-a"]
	if got := a.disk.Size(); got != demoSize {
		return "", fmt.Errorf("node-a sees a disk of %d bytes", got)
	}
	for range demoRing {
		if err := a.writeOne(ctx, ringA); err != nil {
			return "", err
		}
	}
	if err := a.disk.Flush(ctx); err != nil {
		return "", err
	}
	a.writeOn(ringA)
	return fmt.Sprintf("%d numbered blocks written, and more by the millisecond", demoRing), nil
}

func readOnBoth(ctx context.Context, st *demoStage) (string, error) {
	a, b := st.hosts["node-a"], st.hosts["node-b"]
	const off = int64(32 << 20)
	same := block("both", 1)
	if _, err := a.disk.WriteAtContext(ctx, same, off); err != nil {
		return "", err
	}
	for _, h := range []*demoHost{a, b} {
		got := make([]byte, demoBlock)
		if _, err := h.disk.ReadAtContext(ctx, got, off); err != nil {
			return "", err
		}
		if !bytes.Equal(got, same) {
			return "", fmt.Errorf("%s reads other bytes", h.name)
		}
	}
	before := a.acked.Load()
	if err := a.awaitAcked(ctx, before); err != nil {
		return "", err
	}
	seen, err := b.newest(ctx, "node-a", ringA)
	if err != nil {
		return "", err
	}
	if seen < before {
		return "", fmt.Errorf("node-b sees block %d as the newest, node-a had an answer for %d", seen, before)
	}
	return "same bytes on both nodes", nil
}

func refuseThird(ctx context.Context, st *demoStage) (string, error) {
	_, err := st.publish(ctx, "node-c")
	return refused(err, codes.FailedPrecondition)
}

// refused returns what an RPC was refused with, if it was refused as it must be.
func refused(err error, want codes.Code) (string, error) {
	if got := status.Code(err); got != want {
		return "", fmt.Errorf("answered %v (%w), want %v", got, err, want)
	}
	return fmt.Sprintf("%v: %s", want, status.Convert(err).Message()), nil
}

func handOff(ctx context.Context, st *demoStage) (string, error) {
	b := st.hosts["node-b"]
	b.writeOn(ringB)
	return "", b.awaitAcked(ctx, 0)
}

// fenceLost unpublishes a node that the cluster has lost while its host is connected and writing.
func fenceLost(ctx context.Context, st *demoStage) (string, error) {
	a, b := st.hosts["node-a"], st.hosts["node-b"]
	if a.disk.State() != host.StateLive {
		return "", fmt.Errorf("node-a is %v, not live", a.disk.State())
	}
	b.states.reset()
	st.nodes.Remove("node-a")
	_, err := st.controller.ControllerUnpublishVolume(ctx, &csipb.ControllerUnpublishVolumeRequest{
		VolumeId: st.volume.GetVolumeId(), NodeId: "node-a",
	})
	if err != nil {
		return "", err
	}
	st.fenced = fence{at: time.Now(), seq: a.issued.Load(), host: a.nqn}
	return fmt.Sprintf("the export was bounced; node-a had begun %d writes", st.fenced.seq), nil
}

func survive(ctx context.Context, st *demoStage) (string, error) {
	b := st.hosts["node-b"]
	if err := b.awaitAcked(ctx, b.issued.Load()); err != nil {
		return "", err
	}
	newest, err := b.newest(ctx, "node-b", ringB)
	if err != nil {
		return "", err
	}
	states := strings.Join(b.states.all(), " -> ")
	if want := "resetting -> connecting -> live"; states != want {
		return "", fmt.Errorf("node-b went %q, want %q", states, want)
	}
	a, err := st.told.only(actors.MigrationCompleted)
	return fmt.Sprintf("live -> %s; block %d and counting\n      %v: source %s -> target %s, duration %v",
		states, newest, a.Kind, a.Source, a.Target, a.Duration.Round(time.Millisecond)), err
}

// provefence has the lost node try to write, and looks for what it wrote after Unpublish had
// answered: on the disk, through the node that is left, and in the box's journal.
func provefence(ctx context.Context, st *demoStage) (string, error) {
	a := st.hosts["node-a"]
	attempts := st.tryToWrite(ctx, a)
	select {
	case <-a.disk.Done():
	case <-ctx.Done():
		return "", fmt.Errorf("node-a is %v, not refused", a.disk.State())
	}
	if !errors.Is(a.disk.Err(), host.ErrGone) {
		return "", fmt.Errorf("node-a ended with %w", a.disk.Err())
	}
	if attempts == 0 || a.issued.Load() <= st.fenced.seq {
		return "", errors.New("node-a wrote nothing after it was fenced, so nothing was proved")
	}
	newest, err := st.hosts["node-b"].newest(ctx, "node-a", ringA)
	if err != nil {
		return "", err
	}
	if newest > st.fenced.seq {
		return "", fmt.Errorf("block %d of node-a is on the disk, begun after block %d, which was the last before Unpublish had answered", newest, st.fenced.seq)
	}
	for _, e := range st.box.Journal() {
		if e.Host == st.fenced.host && e.Last.At.After(st.fenced.at) {
			return "", fmt.Errorf("the box's journal has a write of node-a %v after Unpublish had answered", e.Last.At.Sub(st.fenced.at))
		}
	}
	return fmt.Sprintf("%d later writes failed; node-a was refused: %v", attempts, refusal(a.disk.Err())), nil
}

// tryToWrite begins writes on a host until its disk is gone, and returns how many.
func (st *demoStage) tryToWrite(ctx context.Context, h *demoHost) int {
	ctx, cancel := context.WithTimeout(ctx, 3*demoReconnectDelay)
	defer cancel()
	const attempts = 8
	var wg sync.WaitGroup
	for range attempts {
		wg.Go(func() { _ = h.writeOne(ctx, ringA) }) // where it went is looked up on the disk
	}
	wg.Wait()
	return attempts
}

// refusal returns the status with which the target refused a host.
func refusal(err error) error {
	var status *host.StatusError
	if errors.As(err, &status) {
		return status
	}
	return err
}

func refuseFilesystem(ctx context.Context, st *demoStage) (string, error) {
	capability := sharedBlock()
	capability.AccessType = &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{FsType: "ext4"}}
	before := len(st.box.Disks())
	_, err := st.controller.CreateVolume(ctx, &csipb.CreateVolumeRequest{
		Name: "pvc-00000000-0000-4000-8000-000000000000", CapacityRange: &csipb.CapacityRange{RequiredBytes: demoSize},
		VolumeCapabilities: []*csipb.VolumeCapability{capability},
	})
	if len(st.box.Disks()) != before {
		return "", errors.New("the box has another disk")
	}
	return refused(err, codes.InvalidArgument)
}

func deleteVolume(ctx context.Context, st *demoStage) (string, error) {
	for _, name := range []string{"node-a", "node-b"} {
		if err := st.hosts[name].close(); err != nil {
			return "", err
		}
		delete(st.hosts, name)
	}
	id := st.volume.GetVolumeId()
	_, err := st.controller.DeleteVolume(ctx, &csipb.DeleteVolumeRequest{VolumeId: id})
	if _, err := refused(err, codes.FailedPrecondition); err != nil {
		return "", fmt.Errorf("delete while attached: %w", err)
	}
	if _, err := st.controller.ControllerUnpublishVolume(ctx, &csipb.ControllerUnpublishVolumeRequest{VolumeId: id, NodeId: "node-b"}); err != nil {
		return "", err
	}
	if disks := st.box.Disks(); slices.ContainsFunc(disks, exported) {
		return "", fmt.Errorf("still exported: %+v", disks)
	}
	_, err = st.controller.DeleteVolume(ctx, &csipb.DeleteVolumeRequest{VolumeId: id})
	return "refused while attached, then deleted", err
}

func nothingLeft(_ context.Context, st *demoStage) (string, error) {
	if disks, files := st.box.Disks(), st.box.Files(); len(disks) > 0 || len(files) > 0 {
		return "", fmt.Errorf("left behind: disks %+v, files %+v", disks, files)
	}
	if free := st.box.Free(); free != demoCapacity {
		return "", fmt.Errorf("%d bytes are free of %d", free, demoCapacity)
	}
	return "no disk, no file, all space free", nil
}

func exported(d sim.Disk) bool { return d.Export }
