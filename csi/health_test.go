// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"slices"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/rds-csi/rds-csi/actors"
)

func TestVolumeHealth(t *testing.T) {
	r := newRig(t, nil)
	for _, id := range []string{vol1, vol2, vol3} {
		_, err := r.publish(r.create(id), "a", block(rwo))
		r.must(err)
	}
	healthy, err := r.ControllerGetVolumeHealth(t.Context(), &csipb.ControllerGetVolumeHealthRequest{VolumeId: vol1})
	r.must(err)
	if h := healthy.GetVolumeHealth(); h.GetVolumeId() != vol1 || len(h.GetHealthStatuses()) != 0 {
		t.Errorf("a volume in order is %v", h)
	}
	// Somebody's hand on the box.
	off := r.box.row(vol1)
	off.Export = false
	r.box.put(off)
	strange := r.box.row(vol3)
	strange.NQN, strange.AllowHost = "nqn.2000-02.com.mikrotik:x", actors.HostOf(testCluster, "b").NQN
	r.box.put(strange)
	allowed := r.box.row(vol2)
	allowed.AllowHost = actors.HostOf(testCluster, "a").NQN
	r.box.put(allowed)

	var reasons []string
	for token := ""; ; {
		resp, err := r.ControllerListVolumeHealth(t.Context(), &csipb.ControllerListVolumeHealthRequest{MaxEntries: 1, StartingToken: token})
		r.must(err)
		for _, h := range resp.GetEntries() {
			for _, s := range h.GetHealthStatuses() {
				reasons = append(reasons, h.GetVolumeId()+" "+s.GetReason())
			}
		}
		if token = resp.GetNextToken(); token == "" {
			break
		}
	}
	if want := []string{vol1 + " ExportOff", vol3 + " ForeignNQN", vol3 + " HostNotAllowed"}; !slices.Equal(reasons, want) {
		t.Errorf("listed %q, want %q", reasons, want)
	}
	for id, code := range map[string]codes.Code{"": codes.InvalidArgument, "x": codes.NotFound} {
		_, err := r.ControllerGetVolumeHealth(t.Context(), &csipb.ControllerGetVolumeHealthRequest{VolumeId: id})
		r.wantCode(err, code)
	}
	_, err = r.ControllerListVolumeHealth(t.Context(), &csipb.ControllerListVolumeHealthRequest{StartingToken: "x"})
	r.wantCode(err, codes.Aborted)
}
