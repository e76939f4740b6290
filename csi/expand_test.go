// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"context"
	"fmt"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
)

func TestExpand(t *testing.T) {
	r := newRig(t, nil)
	expand := func(required, limit int64, c *csipb.VolumeCapability) (*csipb.ControllerExpandVolumeResponse, error) {
		return r.ControllerExpandVolume(t.Context(), &csipb.ControllerExpandVolumeRequest{
			VolumeId: vol1, CapacityRange: &csipb.CapacityRange{RequiredBytes: required, LimitBytes: limit}, VolumeCapability: c,
		})
	}
	r.create(vol1)
	for _, c := range []*csipb.VolumeCapability{nil, block(rwx), mount(rwo, "ext4")} {
		resp, err := expand(1500<<30+1, 0, c)
		r.must(err)
		if resp.GetCapacityBytes() != 1500<<30+512 || !resp.GetNodeExpansionRequired() {
			t.Errorf("expanded to %v", resp)
		}
	}
	// Smaller than it is: nothing happens.
	resp, err := expand(1<<30, 0, nil)
	r.must(err)
	if resp.GetCapacityBytes() != 1500<<30+512 || r.box.row(vol1).Size != 1500<<30+512 {
		t.Errorf("after a smaller request the volume has %v", resp)
	}
	r.wantWrites("create", "expand")

	for _, test := range []struct {
		required, limit int64
		capability      *csipb.VolumeCapability
		code            codes.Code
		says            string
	}{
		{0, 0, nil, codes.InvalidArgument, "required_bytes is missing"},
		{-1, 0, nil, codes.InvalidArgument, "required_bytes"},
		{1 << 41, 1 << 40, nil, codes.InvalidArgument, "less than required_bytes"},
		{1 << 30, 1 << 30, nil, codes.OutOfRange, "never shrunk"},
		{1<<41 + 1, 1<<41 + 100, nil, codes.OutOfRange, "multiple of 512"},
		{1 << 41, 0, mount(rwx, ""), codes.InvalidArgument, "volumeMode: Block"},
	} {
		_, err := expand(test.required, test.limit, test.capability)
		r.wantCode(err, test.code, test.says)
	}
	r.wantWrites("create", "expand")

	for kind, code := range map[error]codes.Code{
		actors.ErrFull: codes.ResourceExhausted, actors.ErrOutOfRange: codes.OutOfRange, actors.ErrUnavailable: codes.Unavailable, actors.ErrUnresolved: codes.Unavailable,
	} {
		r.box.failWith("expand", fmt.Errorf("box says no: %w", kind))
		_, err = expand(1<<42, 0, nil)
		r.wantCode(err, code, "box says no")
	}
	for id, code := range map[string]codes.Code{"": codes.InvalidArgument, "x": codes.NotFound, vol2: codes.NotFound} {
		_, err := r.ControllerExpandVolume(t.Context(), &csipb.ControllerExpandVolumeRequest{VolumeId: id, CapacityRange: &csipb.CapacityRange{RequiredBytes: 1 << 30}})
		r.wantCode(err, code)
	}
}

// TestExpandBelievesTheBox: an acknowledged expansion that the row does not show is not done.
func TestExpandBelievesTheBox(t *testing.T) {
	r := newRig(t, func(c *csi.Config) { c.Storage = lazyBox{c.Storage} })
	r.create(vol1)
	_, err := r.ControllerExpandVolume(t.Context(), &csipb.ControllerExpandVolumeRequest{VolumeId: vol1, CapacityRange: &csipb.CapacityRange{RequiredBytes: 1 << 40}})
	r.wantCode(err, codes.Unavailable, "shows 1073741824")
}

// A lazyBox acknowledges expansions and does not do them.
type lazyBox struct{ csi.Storage }

func (lazyBox) Expand(_ context.Context, id actors.VolumeID, _ int64) (actors.Volume, error) {
	return actors.Volume{ID: id, Exists: true, Size: 1 << 30}, nil
}

// TestExpandAfterALargerOne: a request that waited for a larger one must not shrink what that made.
func TestExpandAfterALargerOne(t *testing.T) {
	var r *rig
	r = newRig(t, func(c *csi.Config) {
		c.Volumes = queued{c.Volumes, actors.OpExpand, func() {
			v := r.box.row(vol1)
			v.Size = 1 << 42
			r.box.put(v)
		}}
	})
	r.create(vol1)
	resp, err := r.ControllerExpandVolume(t.Context(), &csipb.ControllerExpandVolumeRequest{VolumeId: vol1, CapacityRange: &csipb.CapacityRange{RequiredBytes: 1 << 40}})
	r.must(err)
	if resp.GetCapacityBytes() != 1<<42 {
		t.Errorf("expanded to %v", resp)
	}
	r.wantWrites("create")
}

// queued lets something happen before an operation of one kind runs.
type queued struct {
	csi.Volumes
	kind   actors.OpKind
	before func()
}

func (q queued) Exclusive(ctx context.Context, id actors.VolumeID, op actors.Operation) (actors.Volume, error) {
	if op.Kind == q.kind {
		q.before()
	}
	return q.Volumes.Exclusive(ctx, id, op)
}
