// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"fmt"
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/rds-csi/rds-csi/actors"
)

func TestDelete(t *testing.T) {
	r := newRig(t, nil)
	remove := func(id string) error {
		_, err := r.DeleteVolume(t.Context(), &csipb.DeleteVolumeRequest{VolumeId: id})
		return err
	}
	v := r.create(vol1)
	_, err := r.publish(v, "a", block(rwo))
	r.must(err)
	r.wantCode(remove(vol1), codes.FailedPrecondition, "attached")
	_, err = r.ControllerUnpublishVolume(t.Context(), &csipb.ControllerUnpublishVolumeRequest{VolumeId: vol1})
	r.must(err)
	r.wantWrites("create", "publish", "unpublish")

	r.must(remove(vol1))
	if r.box.row(vol1).Exists {
		t.Error("the row is still there")
	}
	r.must(remove(vol1)) // again: a file may be left
	r.wantWrites("create", "publish", "unpublish", "delete", "delete")

	r.must(remove("fake-vol-id"))
	r.wantCode(remove(""), codes.InvalidArgument, "volume_id is missing")
	r.wantCode(remove(strings.Repeat("v", 129)), codes.InvalidArgument, "128")
	r.wantWrites("create", "publish", "unpublish", "delete", "delete")
}

// TestDeleteOfAnUnreachableBox: NotFound would be OK, and the volume would be leaked.
func TestDeleteOfAnUnreachableBox(t *testing.T) {
	for _, call := range []string{"get", "delete"} {
		for _, kind := range []error{actors.ErrUnavailable, actors.ErrUnresolved} {
			r := newRig(t, nil)
			r.create(vol1)
			r.box.failWith(call, fmt.Errorf("no route: %w", kind))
			_, err := r.DeleteVolume(t.Context(), &csipb.DeleteVolumeRequest{VolumeId: vol1})
			r.wantCode(err, codes.Unavailable, "no route")
		}
	}
}
