// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"fmt"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rds-csi/rds-csi/actors"
)

// Stale implements actors.Orchestrator. What the API server answers now decides. The cache only tells
// under which other names to ask: the attach/detach controller derives a VolumeAttachment's name from
// volume and node, people and other controllers need not.
//
// A node that is not well is believed, too, where it does not list the volume: the kubelet lists a
// volume before it mounts it, and takes it off the list after it has unmounted it.
func (a *Attachments) Stale(ctx context.Context, id actors.VolumeID, node actors.NodeID) (lost string, err error) {
	if !a.Synced() {
		return "", fmt.Errorf("tell whether volume %s is wanted on node %s: the caches are not filled yet: %w", id, node, actors.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	if lost, err = a.unused(ctx, id, node); err != nil {
		return "", err
	}
	// The absence of VolumeAttachments is read last: nothing that was seen is older.
	if err := a.unwanted(ctx, id, node); err != nil {
		return "", err
	}
	return lost, nil
}

// unused returns nil where the node is gone or does not list the volume in use, and then what makes its
// word doubtful.
func (a *Attachments) unused(ctx context.Context, id actors.VolumeID, node actors.NodeID) (lost string, err error) {
	object, err := a.config.Client.CoreV1().Nodes().Get(ctx, string(node), metav1.GetOptions{})
	switch {
	case Gone(err):
		return nodeGone, nil
	case err != nil:
		return "", fmt.Errorf("read node %s: %w: %w", node, err, actors.ErrUnavailable)
	case uses(object, id, a.config.Driver):
		return "", fmt.Errorf("node %s lists volume %s in use: %w", node, id, actors.ErrPrecondition)
	}
	return unwell(object), nil
}

// unwanted returns nil where no VolumeAttachment asks for the volume on the node.
func (a *Attachments) unwanted(ctx context.Context, id actors.VolumeID, node actors.NodeID) error {
	usual := attachmentName(id, a.config.Driver, node)
	va, err := a.read(ctx, usual)
	switch {
	case err != nil:
		return err
	case va != nil:
		return fmt.Errorf("VolumeAttachment %s asks for volume %s on node %s: %w", usual, id, node, actors.ErrPrecondition)
	}
	for _, cached := range a.cached(byNode, string(node)) {
		if cached.Name == usual {
			continue // gone, which the cache has not seen
		}
		if err := a.unrelated(ctx, cached, id, node); err != nil {
			return err
		}
	}
	return nil
}

// unrelated returns nil where a cached VolumeAttachment of the node is for another volume, or is gone.
func (a *Attachments) unrelated(ctx context.Context, cached *storagev1.VolumeAttachment, id actors.VolumeID, node actors.NodeID) error {
	found, _, f := a.locate(cached)
	if f != nil && !f.passes || f == nil && found != id {
		return nil
	}
	va, err := a.read(ctx, cached.Name)
	switch {
	case err != nil:
		return err
	case va == nil:
		return nil
	case f != nil:
		return fmt.Errorf("tell whether volume %s is wanted on node %s: %s: %w", id, node, f.text, actors.ErrUnavailable)
	case !sameSpec(va, cached):
		return fmt.Errorf("VolumeAttachment %s was replaced just now: %w", cached.Name, actors.ErrUnavailable)
	}
	return fmt.Errorf("VolumeAttachment %s asks for volume %s on node %s: %w", cached.Name, id, node, actors.ErrPrecondition)
}

// read returns a VolumeAttachment as it is now, or nil where there is none. Anything else is ErrUnavailable.
func (a *Attachments) read(ctx context.Context, name string) (*storagev1.VolumeAttachment, error) {
	va, err := a.config.Client.StorageV1().VolumeAttachments().Get(ctx, name, metav1.GetOptions{})
	switch {
	case Gone(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read VolumeAttachment %s: %w: %w", name, err, actors.ErrUnavailable)
	}
	return va, nil
}
