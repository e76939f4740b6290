// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"context"
	"slices"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

func (nt *nodeTest) health(id actors.VolumeID) []string {
	nt.Helper()
	resp, err := nt.node.NodeGetVolumeHealth(context.Background(), &csipb.NodeGetVolumeHealthRequest{VolumeId: string(id), StagingTargetPath: nt.staging(id)})
	wantOK(nt, err)
	if got := resp.GetVolumeHealth().GetVolumeId(); got != string(id) {
		nt.Errorf("health of %q, want %q", got, id)
	}
	var reasons []string
	for _, e := range resp.GetVolumeHealth().GetHealthStatuses() {
		reasons = append(reasons, e.GetReason())
	}
	return reasons
}

func TestHealth(t *testing.T) {
	nt := newNodeTest(t, mountCap(writer))
	_, err := nt.node.NodeGetVolumeHealth(t.Context(), &csipb.NodeGetVolumeHealthRequest{})
	wantCode(t, err, codes.InvalidArgument)
	_, err = nt.node.NodeGetVolumeHealth(t.Context(), &csipb.NodeGetVolumeHealthRequest{VolumeId: string(volumeA)})
	wantCode(t, err, codes.NotFound)
	wantOK(t, nt.stage(volumeA))
	for state, want := range map[nvme.State][]string{
		nvme.StateLive: nil, nvme.StateConnecting: {"Reconnecting"}, nvme.StateDead: {"ConnectionLost"},
	} {
		nt.kernel.SetState(nqnOf(volumeA), state)
		if got := nt.health(volumeA); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", state, got, want)
		}
	}
	nt.kernel.Reboot()
	if got := nt.health(volumeA); !slices.Equal(got, []string{"NotConnected"}) {
		t.Errorf("after a reboot: %v", got)
	}
}

func TestStatsAndExpand(t *testing.T) {
	eachAccess(t, func(t *testing.T, c *csipb.VolumeCapability) {
		nt := newNodeTest(t, c)
		ctx := t.Context()
		stats := func(id, path string) (*csipb.NodeGetVolumeStatsResponse, error) {
			return nt.node.NodeGetVolumeStats(ctx, &csipb.NodeGetVolumeStatsRequest{VolumeId: id, VolumePath: path})
		}
		expand := func(id, path string, need, limit int64) (int64, error) {
			resp, err := nt.node.NodeExpandVolume(ctx, &csipb.NodeExpandVolumeRequest{
				VolumeId: id, VolumePath: path, CapacityRange: &csipb.CapacityRange{RequiredBytes: need, LimitBytes: limit},
			})
			return resp.GetCapacityBytes(), err
		}
		for _, bad := range []struct {
			id, path string
			want     codes.Code
		}{
			{"", nt.target("a"), codes.InvalidArgument},
			{string(volumeA), "", codes.InvalidArgument},
			{string(volumeA), "some/path", codes.NotFound},
			{string(volumeA), nt.target("a"), codes.NotFound},
			{string(volumeB), nt.target("a"), codes.NotFound},
		} {
			_, err := stats(bad.id, bad.path)
			wantCode(t, err, bad.want)
			_, err = expand(bad.id, bad.path, oneGiB, 0)
			wantCode(t, err, bad.want)
		}
		wantOK(t, nt.stage(volumeA))
		wantOK(t, nt.publish(volumeA, "a"))
		_, err := stats(string(volumeB), nt.target("a"))
		wantCode(t, err, codes.NotFound)
		resp, err := stats(string(volumeA), nt.target("a"))
		wantOK(t, err)
		if u := resp.GetUsage()[0]; u.GetTotal() != oneGiB || u.GetUnit() != csipb.VolumeUsage_BYTES {
			t.Errorf("usage %v", u)
		}
		if got, want := len(resp.GetUsage()), map[bool]int{true: 1, false: 2}[c.GetBlock() != nil]; got != want {
			t.Errorf("%d usages, want %d", got, want)
		}
		for _, path := range []string{nt.target("a"), nt.staging(volumeA)} {
			size, err := expand(string(volumeA), path, 2*oneGiB, 0)
			wantOK(t, err)
			if size != 2*oneGiB {
				t.Errorf("expanded to %d at %s", size, path)
			}
		}
		if grown := slices.Contains(nt.kernel.Ops(), "Grow "+nt.staging(volumeA)); grown != (c.GetMount() != nil) {
			t.Errorf("grown=%t: %v", grown, nt.kernel.Ops())
		}
		_, err = expand(string(volumeA), nt.target("a"), oneGiB, oneGiB)
		wantCode(t, err, codes.OutOfRange) // it has 2 GiB, and is never shrunk
		_, err = expand(string(volumeA), nt.target("a"), 2*oneGiB, oneGiB)
		wantCode(t, err, codes.OutOfRange)
		_, err = expand(string(volumeA), nt.target("a"), -1, 0)
		wantCode(t, err, codes.OutOfRange)
	})
}
