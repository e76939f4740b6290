// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// A hiding is a box that shows nothing of an export that is off, and the controllers that follow each
// other on it.
type hiding struct {
	t      *testing.T
	box    *sim.Sim
	over   string // the transport
	prefix string // of the StorageClass; empty: none named

	noExport atomic.Bool // the box refuses to turn an export on
	process  *process
}

// prefixes are those that a StorageClass may name, by what they are.
var prefixes = map[string]string{"default prefix": "", "other prefix": "nqn.2024-01.io.example.storage:rds/box-1"}

func newHiding(t *testing.T, over, prefix string) *hiding {
	h := &hiding{t: t, over: over, prefix: prefix}
	h.box = startSuchBox(t, t.TempDir(), sim.LoopbackHost()+":0", sim.Config{
		Switches: sim.Switches{HideExport: true},
		Fault: func(c sim.Command) sim.Fault {
			if h.noExport.Load() && c.Name == "/disk/set" && c.Arg("nvme-tcp-export") == "yes" {
				return sim.Fault{Trap: "failure: busy"}
			}
			return sim.Fault{}
		},
	})
	h.restart("node-a,node-b")
	return h
}

// restart ends the controller and starts another one, which knows nothing but what the box shows.
func (h *hiding) restart(nodes string) {
	h.t.Helper()
	if h.process != nil {
		h.process.stop()
	}
	h.process = startOver(h.t, h.box, h.over, "--nodes="+nodes, "--cluster-id=0123456789ab", "--command-timeout=1s")
}

// do makes a request until the controller knows enough to answer.
func (h *hiding) do(what string, request func(context.Context) error) {
	h.t.Helper()
	if err := insist(h.t, request); err != nil {
		h.t.Fatalf("%s: %v", what, err)
	}
}

// create makes a volume and returns its context.
func (h *hiding) create(id string) (vctx map[string]string) {
	h.t.Helper()
	h.do("create", func(ctx context.Context) error {
		req := &csipb.CreateVolumeRequest{
			Name: id, CapacityRange: &csipb.CapacityRange{RequiredBytes: 1 << 30},
			VolumeCapabilities: []*csipb.VolumeCapability{sharedBlock()},
			Parameters:         map[string]string{"fencing": "host", "nqnPrefix": h.prefix},
		}
		r, err := h.process.controller.CreateVolume(ctx, req)
		vctx = r.GetVolume().GetVolumeContext()
		return err
	})
	return vctx
}

// publish grants a volume and returns what the node is told.
func (h *hiding) publish(id, node string, vctx map[string]string) (told map[string]string) {
	h.t.Helper()
	h.do("publish", func(ctx context.Context) error {
		r, err := h.process.controller.ControllerPublishVolume(ctx, &csipb.ControllerPublishVolumeRequest{
			VolumeId: id, NodeId: node, VolumeCapability: sharedBlock(), VolumeContext: vctx,
		})
		told = r.GetPublishContext()
		return err
	})
	return told
}

func (h *hiding) unpublish(id, node string) {
	h.t.Helper()
	h.do("unpublish", func(ctx context.Context) error { return h.process.unpublish(ctx, id, node) })
}

// disk returns a volume's disk as the box has it, hidden or not.
func (h *hiding) disk(id string) sim.Disk {
	h.t.Helper()
	for _, d := range h.box.Disks() {
		if _, ok := actors.NQNPrefix(d.NQN, actors.VolumeID(id)); ok {
			return d
		}
	}
	h.t.Fatalf("no disk of %s in %+v", id, h.box.Disks())
	return sim.Disk{}
}

// wantTold checks that a node is told the NQN and port that a volume was made with.
func (h *hiding) wantTold(id string, vctx, told map[string]string) {
	h.t.Helper()
	prefix, _ := actors.NQNPrefix(told["nvme_nqn"], actors.VolumeID(id))
	want := h.prefix
	if want == "" {
		want = actors.DefaultNQNPrefix
	}
	if prefix != want || told["nvme_port"] != vctx["nvmePort"] {
		h.t.Errorf("published as %v, created as %v", told, vctx)
	}
	if d := h.disk(id); !d.Export || d.NQN != told["nvme_nqn"] || fmt.Sprint(d.Port) != told["nvme_port"] {
		h.t.Errorf("published as %v, and the box has %+v", told, d)
	}
}

// A box may show neither NQN nor port of a disk that is not exported. Over restarts, a volume stays what
// it is on such a box too.
func TestABoxThatHidesExportsThatAreOff(t *testing.T) {
	t.Parallel()
	for name, prefix := range prefixes {
		t.Run(name, func(t *testing.T) {
			overEach(t, func(t *testing.T, over string) {
				h := newHiding(t, over, prefix)
				ids := []string{restartVolume, "pvc-2f6c7a52-9d0e-4e0b-8f11-3c9d8e7f6a02", "pvc-2f6c7a52-9d0e-4e0b-8f11-3c9d8e7f6a03"}
				made, ports := map[string]map[string]string{}, map[string]bool{}
				for _, id := range ids {
					made[id] = h.create(id)
					ports[made[id]["nvmePort"]] = true
					h.restart("node-a,node-b")
				}
				if len(ports) != len(ids) {
					t.Errorf("%d volumes have the ports %v", len(ids), ports)
				}
				for _, id := range ids {
					if again := h.create(id); fmt.Sprint(again) != fmt.Sprint(made[id]) {
						t.Errorf("created again as %v, at first as %v", again, made[id])
					}
				}
				id := ids[1]
				first := h.publish(id, "node-a", made[id])
				h.wantTold(id, made[id], first)
				h.unpublish(id, "node-a")
				h.restart("node-a,node-b")
				if d := h.disk(id); d.Export {
					t.Errorf("unpublished, and the box has %+v", d)
				}
				h.do("expand", func(ctx context.Context) error {
					_, err := h.process.controller.ControllerExpandVolume(ctx, &csipb.ControllerExpandVolumeRequest{
						VolumeId: id, CapacityRange: &csipb.CapacityRange{RequiredBytes: 2 << 30}, VolumeCapability: sharedBlock(),
					})
					return err
				})
				second := h.publish(id, "node-b", made[id])
				h.wantTold(id, made[id], second)
				if first["nvme_nqn"] == second["nvme_nqn"] {
					t.Errorf("two attachments have the NQN %s", first["nvme_nqn"])
				}
				h.unpublish(id, "node-b")
				h.restart("node-a,node-b")
				for _, id := range ids {
					h.do("delete", func(ctx context.Context) error {
						_, err := h.process.controller.DeleteVolume(ctx, &csipb.DeleteVolumeRequest{VolumeId: id})
						return err
					})
				}
				if len(h.box.Disks()) != 0 || len(h.box.Files()) != 0 {
					t.Errorf("left: %+v, %+v", h.box.Disks(), h.box.Files())
				}
			})
		})
	}
}

// A controller that ends while an export is off for a bounce is followed by one that turns it on again as
// it was, for the node that stays.
func TestABounceThatIsCutShortOnABoxThatHides(t *testing.T) {
	t.Parallel()
	for name, prefix := range prefixes {
		t.Run(name, func(t *testing.T) {
			overEach(t, func(t *testing.T, over string) {
				h := newHiding(t, over, prefix)
				vctx := h.create(restartVolume)
				told := h.publish(restartVolume, "node-a", vctx)
				h.publish(restartVolume, "node-b", vctx)
				h.restart("node-b") // node-a is lost: its detach bounces the export
				if nodes := h.process.published(t, restartVolume); len(nodes) != 2 {
					t.Fatalf("published to %v", nodes)
				}
				h.publish(restartVolume, "node-b", vctx) // once it may write
				h.noExport.Store(true)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if err := h.process.unpublish(ctx, restartVolume, "node-a"); err == nil {
					t.Fatal("an unpublish whose bounce was cut short succeeded")
				}
				if l, _, err := actors.ParseLedger(h.disk(restartVolume).Comment); err != nil || h.disk(restartVolume).Export || !l.Off {
					t.Fatalf("the bounce was not cut short: %+v, %v", h.disk(restartVolume), err)
				}
				h.process.stop()
				h.noExport.Store(false)
				h.restart("node-b")
				h.unpublish(restartVolume, "node-a")
				h.wantTold(restartVolume, vctx, told)
				if again := h.publish(restartVolume, "node-b", vctx); again["nvme_nqn"] != told["nvme_nqn"] {
					t.Errorf("the node that stays is told %v, it was %v", again, told)
				}
			})
		})
	}
}
