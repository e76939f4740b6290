// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"fmt"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/rds-csi/rds-csi/actors"
)

func TestUnpublish(t *testing.T) {
	r := newRig(t, nil)
	unpublish := func(volume, node string) error {
		_, err := r.ControllerUnpublishVolume(t.Context(), &csipb.ControllerUnpublishVolumeRequest{VolumeId: volume, NodeId: node})
		return err
	}
	v := r.create(vol1, block(rwx))
	for _, node := range []string{"a", "b"} {
		_, err := r.publish(v, node, block(rwx))
		r.must(err)
	}
	r.must(unpublish(vol1, "a"))
	r.must(unpublish(vol1, "a"))
	r.must(unpublish(vol1, "no-such-node"))
	if l := r.box.row(vol1).Ledger; l.Granted("a") || !l.Granted("b") {
		t.Errorf("after the unpublish of a the ledger is %v", l)
	}
	_, err := r.publish(v, "a", block(rwx))
	r.must(err)
	r.must(unpublish(vol1, ""))
	if n := len(r.box.row(vol1).Ledger.Grants); n != 0 {
		t.Errorf("%d grants after the unpublish of all nodes", n)
	}
	r.must(unpublish(vol2, "a"))          // gone
	r.must(unpublish("fake-vol-id", "a")) // never was

	r.wantCode(unpublish("", "a"), codes.InvalidArgument, "volume_id is missing")
	// OK would promise that this node's writes are fenced.
	before := len(r.box.writes())
	r.wantCode(unpublish(vol1, "Not A Node"), codes.InvalidArgument, "RFC 1123")
	if len(r.box.writes()) != before {
		t.Error("the box saw the unpublish of a malformed node")
	}
	for err, code := range map[error]codes.Code{
		actors.ErrUnavailable:  codes.Unavailable,
		actors.ErrUnresolved:   codes.Unavailable,
		actors.ErrPrecondition: codes.FailedPrecondition,
		actors.ErrNotFound:     codes.OK,
	} {
		r.box.failWith("unpublish", fmt.Errorf("box says no: %w", err))
		r.wantCode(unpublish(vol1, "a"), code)
	}
}
