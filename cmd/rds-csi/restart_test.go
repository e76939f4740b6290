// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"net"
	"path/filepath"
	"slices"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/sim"
)

const restartVolume = "pvc-2f6c7a52-9d0e-4e0b-8f11-3c9d8e7f6a01"

// startBox starts a simulated box that is closed at the end of the test.
func startBox(t *testing.T, dir, address string) *sim.Sim {
	t.Helper()
	return startSuchBox(t, dir, address, sim.Config{})
}

// startSuchBox is startBox with switches and faults.
func startSuchBox(t *testing.T, dir, address string, cfg sim.Config) *sim.Sim {
	t.Helper()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Dir, cfg.Username, cfg.Password, cfg.APIAddr, cfg.NVMeHost = dir, testUser, testPassword, address, host
	cfg.TLSAddr, cfg.SSHAddr = cmp.Or(cfg.TLSAddr, host+":0"), cmp.Or(cfg.SSHAddr, host+":0")
	box, err := sim.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	})
	return box
}

// A controller that ends in the middle of a migration is followed by one that knows as much.
func TestARestartInTheMiddleOfAMigration(t *testing.T) {
	overEach(t, func(t *testing.T, over string) {
		box := startBox(t, t.TempDir(), sim.LoopbackHost()+":0")
		flags := []string{"--nodes=node-a,node-b,node-c", "--cluster-id=0123456789ab", "--command-timeout=1s"}
		first := startOver(t, box, over, flags...)
		first.awaitQuiet(t)
		ctx := t.Context()
		if err := first.create(ctx, restartVolume); err != nil {
			t.Fatal(err)
		}
		for _, node := range []string{"node-a", "node-b"} {
			if err := first.publish(ctx, restartVolume, node); err != nil {
				t.Fatal(err)
			}
		}
		before := box.Disks()[0]
		first.stop()

		second := startOver(t, box, over, flags...)
		if nodes := second.published(t, restartVolume); !slices.Equal(nodes, []string{"node-a", "node-b"}) {
			t.Fatalf("published to %v", nodes)
		}
		err := insist(t, func(ctx context.Context) error { return second.publish(ctx, restartVolume, "node-c") })
		if status.Code(err) != codes.FailedPrecondition {
			t.Fatalf("a third node: %v", err)
		}
		for _, node := range []string{"node-a", "node-b"} {
			if err := insist(t, func(ctx context.Context) error { return second.publish(ctx, restartVolume, node) }); err != nil {
				t.Fatal(err)
			}
		}
		if after := box.Disks()[0]; after != before {
			t.Fatalf("the restart changed the row to %+v, it was %+v", after, before)
		}
		if err := insist(t, func(ctx context.Context) error { return second.unpublish(ctx, restartVolume, "node-a") }); err != nil {
			t.Fatal(err)
		}
		after := box.Disks()[0]
		l, _, err := actors.ParseLedger(after.Comment)
		if err != nil {
			t.Fatal(err)
		}
		if !after.Export || !l.Granted("node-b") || l.Granted("node-a") || l.Told == "" {
			t.Fatalf("after the migration: %+v", after)
		}
	})
}

// The driver stays up while the box is away, answers Unavailable, and goes on when it is back.
func TestABoxThatIsAwayForAWhile(t *testing.T) {
	overEach(t, func(t *testing.T, over string) {
		dir := filepath.Join(t.TempDir(), "box")
		box := startBox(t, dir, sim.LoopbackHost()+":0")
		address, others := box.APIAddr(), sim.Config{TLSAddr: box.TLSAddr(), SSHAddr: box.SSHAddr()}
		p := startOver(t, box, over, "--nodes=node-a", "--cluster-id=0123456789ab", "--command-timeout=1s")
		p.awaitQuiet(t)
		ctx := t.Context()
		if err := p.create(ctx, restartVolume); err != nil {
			t.Fatal(err)
		}
		if err := box.Close(); err != nil {
			t.Fatal(err)
		}
		for name, err := range map[string]error{
			"publish":   p.publish(ctx, restartVolume, "node-a"),
			"unpublish": p.unpublish(ctx, restartVolume, "node-a"),
			"create":    p.create(ctx, "pvc-2f6c7a52-9d0e-4e0b-8f11-3c9d8e7f6a02"),
		} {
			if status.Code(err) != codes.Unavailable {
				t.Errorf("%s while the box is away: %v", name, err)
			}
		}
		box = startSuchBox(t, dir, address, others)
		if err := insist(t, func(ctx context.Context) error { return p.publish(ctx, restartVolume, "node-a") }); err != nil {
			t.Fatal(err)
		}
		if d := box.Disks()[0]; !d.Export {
			t.Fatalf("published, and the box shows %+v", d)
		}
	})
}

// Volumes keep the address under which they were made; after the box was renumbered they are still its.
func TestARenumberedBox(t *testing.T) {
	overEach(t, func(t *testing.T, over string) {
		box := startBox(t, t.TempDir(), sim.LoopbackHost()+":0")
		flags := []string{"--nodes=node-a", "--cluster-id=0123456789ab", "--command-timeout=1s"}
		publish := func(p *process) error {
			return insist(t, func(ctx context.Context) error {
				_, err := p.controller.ControllerPublishVolume(ctx, &csipb.ControllerPublishVolumeRequest{
					VolumeId: restartVolume, NodeId: "node-a", VolumeCapability: sharedBlock(),
					VolumeContext: map[string]string{"rdsAddress": "10.0.0.1"},
				})
				return err
			})
		}
		before := startOver(t, box, over, flags...)
		before.awaitQuiet(t)
		if err := before.create(t.Context(), restartVolume); err != nil {
			t.Fatal(err)
		}
		if err := publish(before); status.Code(err) != codes.InvalidArgument {
			t.Fatalf("a volume of another box: %v", err)
		}
		before.stop()
		if err := publish(startOver(t, box, over, append(flags, "--rds-aliases=rds.lab,10.0.0.1")...)); err != nil {
			t.Fatal(err)
		}
	})
}

// A controller makes nothing until what an earlier process sent has landed: its minute of quiet lasts longer than
// this test.
func TestNothingIsMadeInTheQuietTime(t *testing.T) {
	box := startBox(t, t.TempDir(), sim.LoopbackHost()+":0")
	d := startOver(t, box, "api", "--nodes=node-a", "--cluster-id=0123456789ab", "--command-timeout=1m")
	if err := insist(t, func(ctx context.Context) error { // the box answers
		_, err := d.controller.ListVolumes(ctx, &csipb.ListVolumesRequest{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := d.create(t.Context(), restartVolume); status.Code(err) != codes.Unavailable {
		t.Errorf("create: %v", err)
	}
	if disks := box.Disks(); len(disks) > 0 {
		t.Errorf("it made %v", disks)
	}
}

// A box that comes back may have an older configuration: the volumes are listed again although nobody asks.
func TestABoxThatComesBackIsListed(t *testing.T) {
	box := startBox(t, t.TempDir(), sim.LoopbackHost()+":0")
	p := startOver(t, box, "api", "--nodes=node-a", "--cluster-id=0123456789ab", "--command-timeout=1s")
	p.awaitQuiet(t)
	before := box.Commands()["/disk/print"]
	if err := box.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := insist(t, func(context.Context) error {
		if box.Commands()["/disk/print"] == before {
			return status.Error(codes.Unavailable, "nothing was listed")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
