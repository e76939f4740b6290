// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/rds-csi/rds-csi/actors"
)

func TestListVolumesPages(t *testing.T) {
	r := newRig(t, nil)
	r.create(vol2)
	r.create(vol3)
	v := r.create(vol1, block(rwx))
	for _, node := range []string{"b", "a"} {
		_, err := r.publish(v, node, block(rwx))
		r.must(err)
	}
	list := func(token string, limit int32) ([]string, string) {
		t.Helper()
		resp, err := r.ListVolumes(t.Context(), &csipb.ListVolumesRequest{StartingToken: token, MaxEntries: limit})
		r.must(err)
		var ids []string
		for _, e := range resp.GetEntries() {
			if e.GetStatus() == nil {
				t.Errorf("%s has no status: the attacher would publish it again", e.GetVolume().GetVolumeId())
			}
			ids = append(ids, e.GetVolume().GetVolumeId()+" "+strings.Join(e.GetStatus().GetPublishedNodeIds(), ","))
		}
		return ids, resp.GetNextToken()
	}
	want := func(got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("listed %q, want %q", got, want)
		}
	}
	all, next := list("", 0)
	want(all, vol1+" b,a", vol2+" ", vol3+" ")
	if next != "" {
		t.Errorf("token %q after the last page", next)
	}
	exact, next := list("", 3)
	if len(exact) != 3 || next != "" {
		t.Errorf("a page of exactly all has %d entries and token %q", len(exact), next)
	}
	first, next := list("", 2)
	want(first, vol1+" b,a", vol2+" ")
	// The token is good although the last volume of the page is gone.
	_, err := r.DeleteVolume(t.Context(), &csipb.DeleteVolumeRequest{VolumeId: vol2})
	r.must(err)
	rest, next := list(next, 2)
	want(rest, vol3+" ")
	if next != "" {
		t.Errorf("token %q after the last page", next)
	}

	for _, token := range []string{"invalid-token", "0", vol1 + "x"} {
		_, err := r.ListVolumes(t.Context(), &csipb.ListVolumesRequest{StartingToken: token})
		r.wantCode(err, codes.Aborted, "starting_token")
	}
	_, err = r.ListVolumes(t.Context(), &csipb.ListVolumesRequest{MaxEntries: -1})
	r.wantCode(err, codes.InvalidArgument, "max_entries")
	r.box.failWith("list", fmt.Errorf("rows unread: %w", actors.ErrUnavailable))
	_, err = r.ListVolumes(t.Context(), &csipb.ListVolumesRequest{})
	r.wantCode(err, codes.Unavailable, "rows unread")
}
