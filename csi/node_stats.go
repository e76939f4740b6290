// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

// usageTimeout bounds how long is waited for a filesystem to say how full it is. It knows that without its
// device, as a rule.
const usageTimeout = 2 * time.Second

// NodeGetVolumeStats tells how large a volume is and, of a filesystem, how full; and whether something is wrong
// with it. It runs beside other operations on the volume, and does not wait for a device. What is not known is
// left out.
func (n *Node) NodeGetVolumeStats(ctx context.Context, req *csipb.NodeGetVolumeStatsRequest) (*csipb.NodeGetVolumeStatsResponse, error) {
	id, err := checkVolumePath(req.GetVolumeId(), req.GetVolumePath())
	if err != nil {
		return nil, err
	}
	where, f, err := n.locate(ctx, id, req.GetVolumePath())
	if err != nil {
		return nil, err
	}
	resp := &csipb.NodeGetVolumeStatsResponse{}
	switch {
	case !where.block:
		if resp.Usage, err = n.usage(ctx, req.GetVolumePath()); err != nil && f.condition == Healthy {
			return nil, fmt.Errorf("read usage of %s: %w", id, err)
		}
	case where.size > 0:
		resp.Usage = []*csipb.VolumeUsage{{Unit: csipb.VolumeUsage_BYTES, Total: where.size}}
	}
	setCondition(resp, f)
	return resp, nil
}

// A location is what of a volume is at a path.
type location struct {
	block bool
	size  int64 // of a block volume in bytes; 0: not known
}

// locate finds what of a volume is at a path, and how it fares. It is ErrNotFound where the volume is not there.
func (n *Node) locate(ctx context.Context, id actors.VolumeID, path string) (location, finding, error) {
	rec, err := n.records.load(id)
	if err != nil || rec == nil || !slices.Contains(rec.paths(), path) || (rec.Access.Block && path == rec.Staging) {
		return n.locateUnrecorded(ctx, id, path)
	}
	s, f := n.examine(ctx, rec)
	f = n.watch.dated(id, f)
	if f.condition != Unknown {
		e := s.Entries[slices.Index(rec.paths(), path)]
		if !e.Mounted && e.Kind != nvme.KindBlock {
			return location{}, finding{}, errNotThere(id, path)
		}
	}
	where := location{block: rec.Access.Block, size: rec.Size}
	for _, c := range s.Connections {
		if c.NQN == rec.NQN && c.Device.Path != "" {
			where.size = c.Device.Size
		}
	}
	return where, f, nil
}

// locateUnrecorded does so for what somebody else staged or published.
func (n *Node) locateUnrecorded(ctx context.Context, id actors.VolumeID, path string) (location, finding, error) {
	conn, entry, err := n.at(ctx, id, path)
	if err != nil {
		return location{}, finding{}, err
	}
	f := judgeUnrecorded(nvme.Sight{Connections: []nvme.Connection{conn}, Entries: []nvme.Entry{entry}}, []string{path})
	return location{block: entry.Kind == nvme.KindBlock, size: conn.Device.Size}, f, nil
}

// usage tells how full the filesystem at a path is.
func (n *Node) usage(ctx context.Context, path string) ([]*csipb.VolumeUsage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, usageTimeout, errors.New("the filesystem does not answer"))
	defer cancel()
	u, err := n.filesystems.Usage(ctx, path)
	if err != nil {
		return nil, err
	}
	usage := []*csipb.VolumeUsage{{Unit: csipb.VolumeUsage_BYTES, Total: u.Bytes, Available: u.BytesFree, Used: u.BytesUsed}}
	if u.Inodes > 0 {
		usage = append(usage, &csipb.VolumeUsage{Unit: csipb.VolumeUsage_INODES, Total: u.Inodes, Available: u.InodesFree, Used: u.InodesUsed})
	}
	return usage, nil
}

// CSI 1.13 has taken VolumeCondition back, in favour of NodeGetVolumeHealth. Kubelets that were built with an
// earlier version ask for the condition, and take an answer without one for a healthy volume. The numbers are
// reserved, so that others see nothing of it.
const (
	capabilityVolumeCondition csipb.NodeServiceCapability_RPC_Type = 4 // NodeServiceCapability.RPC.Type

	fieldVolumeCondition = 2 // of NodeGetVolumeStatsResponse: message VolumeCondition
	fieldAbnormal        = 1 // of VolumeCondition: bool
	fieldMessage         = 2 // of VolumeCondition: string
)

// setCondition adds a volume's condition in the manner of CSI 1.12.
func setCondition(resp *csipb.NodeGetVolumeStatsResponse, f finding) {
	message := f.message
	if f.condition == Healthy {
		message = "the volume is connected and everything shows its device"
	}
	var c []byte
	c = protowire.AppendTag(c, fieldAbnormal, protowire.VarintType)
	c = protowire.AppendVarint(c, protowire.EncodeBool(f.condition != Healthy))
	c = protowire.AppendTag(c, fieldMessage, protowire.BytesType)
	c = protowire.AppendString(c, message)
	field := protowire.AppendTag(nil, fieldVolumeCondition, protowire.BytesType)
	resp.ProtoReflect().SetUnknown(protowire.AppendBytes(field, c))
}
