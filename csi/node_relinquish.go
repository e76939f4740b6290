// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rds-csi/rds-csi/actors"
)

// errStands says that nothing is known but that a volume is this node's.
var errStands = errors.New("the attachment stands")

// relinquish gives up a volume that waits for its connection, if its target says that it is not this node's any
// more: what uses it would wait for ever otherwise, and so would those who wait for that to end. The caller holds
// the volume's flight.
func (n *Node) relinquish(ctx context.Context, id actors.VolumeID) {
	ctx, cancel := context.WithTimeoutCause(ctx, repairTimeout, errors.New("giving the connection up takes too long"))
	defer cancel()
	rec, err := n.records.load(id)
	if err != nil || rec == nil {
		return // the next look tells
	}
	target, ok := rec.target()
	if _, f := n.examine(ctx, rec); !f.doubtful || !ok || ctx.Err() != nil {
		return
	}
	why, err := n.devices.Relinquish(ctx, target)
	switch {
	case why != "" && err == nil:
		n.log.WarnContext(ctx, "gave up a volume that is not this node's any more", "volume-id", string(id), "why", why)
		n.hooks.Report(ReasonConnectionFailure, id, fmt.Sprintf("this node has lost the volume to another one (%s), and its I/O fails: %s", why, deletePods))
		return
	case err != nil:
		n.log.DebugContext(ctx, "whether a volume is still this node's cannot be told", "volume-id", string(id), "error", err)
	}
	n.watch.attempted(id, errors.Join(errStands, err), time.Now())
}
