// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/e2e/await"
	"github.com/rds-csi/rds-csi/e2e/guest"
)

// A Health is what a node plugin tells kubelet of a volume.
type Health struct {
	Reasons  []string // as of NodeGetVolumeHealth; none of a healthy volume
	Abnormal bool     // the condition of NodeGetVolumeStats, in the manner of CSI 1.12
	Message  string   // of the condition
}

// Health asks a node for the health of a volume that it has staged, at the target path or, where that is not published,
// at the staging path. What it tells in the two ways that there are must agree.
func (v *Volume) Health(ctx context.Context, n *guest.Node, published bool) (h Health, err error) {
	health := &csipb.NodeGetVolumeHealthRequest{VolumeId: string(v.ID), StagingTargetPath: v.Staging()}
	stats := &csipb.NodeGetVolumeStatsRequest{VolumeId: string(v.ID), VolumePath: v.Staging(), StagingTargetPath: v.Staging()}
	if published {
		health.VolumePublishPath, stats.VolumePath = v.Target(), v.Target()
	}
	told, err := n.Client().NodeGetVolumeHealth(ctx, health)
	if err != nil {
		return h, fmt.Errorf("ask %s for the health of %s: %w", n.Name(), v.ID, err)
	}
	for _, status := range told.GetVolumeHealth().GetHealthStatuses() {
		h.Reasons = append(h.Reasons, status.GetReason())
	}
	answer, err := n.Client().NodeGetVolumeStats(ctx, stats)
	if err != nil {
		return h, fmt.Errorf("ask %s how full %s is: %w", n.Name(), v.ID, err)
	}
	if h.Abnormal, h.Message, err = condition(answer.ProtoReflect().GetUnknown()); err != nil {
		return h, fmt.Errorf("ask %s for the condition of %s: %w", n.Name(), v.ID, err)
	}
	if h.Abnormal != (len(h.Reasons) > 0) {
		return h, fmt.Errorf("%s contradicts itself about %s: its health is %v, and its condition %t, %q", n.Name(), v.ID, h.Reasons, h.Abnormal, h.Message)
	}
	return h, nil
}

// condition reads field 2 of a NodeGetVolumeStatsResponse, which is the message VolumeCondition in CSI 1.12: a bool
// and a string. These numbers are reserved in later versions.
func condition(unknown []byte) (abnormal bool, message string, err error) {
	r := bufio.NewReader(bytes.NewReader(unknown))
	var fields [4]uint64 // tag and length, tag and bool
	for i := range fields {
		if fields[i], err = binary.ReadUvarint(r); err != nil {
			return false, "", fmt.Errorf("read the condition: %w", err)
		}
	}
	rest, err := io.ReadAll(r)
	if err != nil || fields[0] != 2<<3|2 || fields[2] != 1<<3 || len(rest) == 0 || rest[0] != 2<<3|2 {
		return false, "", errors.Join(errors.New("there is no condition in the answer"), err)
	}
	length, n := binary.Uvarint(rest[1:])
	text := rest[1+max(n, 0):]
	if uint64(len(text)) != length {
		return false, "", fmt.Errorf("the condition's message has %d bytes and not %d", len(text), length)
	}
	return fields[3] != 0, string(text), nil
}

// Is waits until the reasons of a volume's health are these; none: until it is well.
func (v *Volume) Is(ctx context.Context, n *guest.Node, published bool, reasons ...string) (h Health, err error) {
	return h, await.Nil(ctx, func(ctx context.Context) error {
		if h, err = v.Health(ctx, n, published); err == nil && !slices.Equal(h.Reasons, reasons) {
			err = fmt.Errorf("the health of %s is %s and not %s: %s", v.ID, strings.Join(h.Reasons, ", "), strings.Join(reasons, ", "), h.Message)
		}
		return err
	})
}
