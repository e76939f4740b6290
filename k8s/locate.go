// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/rds-csi/rds-csi/actors"
)

// AttachmentIgnored is the reason of the event on a VolumeAttachment that names no volume or no node.
const AttachmentIgnored = "AttachmentIgnored"

// A fault says why a VolumeAttachment cannot be mapped to a volume and a node.
type fault struct {
	text   string
	passes bool // its PersistentVolume was not seen yet
}

// locate returns the volume and the node that a VolumeAttachment of this driver is for, as far as the
// caches know.
func (a *Attachments) locate(va *storagev1.VolumeAttachment) (actors.VolumeID, actors.NodeID, *fault) {
	node := actors.NodeID(va.Spec.NodeName)
	if err := node.Check(); err != nil {
		return "", "", &fault{text: fmt.Sprintf("VolumeAttachment %s: %v", va.Name, err)}
	}
	id, f := a.volumeOf(va)
	if f != nil {
		return "", "", f
	}
	if err := id.Check(); err != nil {
		return "", "", &fault{text: fmt.Sprintf("VolumeAttachment %s: %v", va.Name, err)}
	}
	return id, node, nil
}

// volumeOf returns the handle of the volume that a VolumeAttachment is for.
func (a *Attachments) volumeOf(va *storagev1.VolumeAttachment) (actors.VolumeID, *fault) {
	if inline := inlineOf(va); inline != nil && inline.Driver == a.config.Driver {
		return actors.VolumeID(inline.VolumeHandle), nil
	}
	name := persistentVolumeOf(va)
	if name == "" {
		return "", &fault{text: fmt.Sprintf("VolumeAttachment %s names no volume of this driver", va.Name)}
	}
	pv := a.config.Claims.named(name)
	if pv != nil {
		if handle := a.config.Claims.handle(pv); handle != "" {
			return actors.VolumeID(handle), nil
		}
	}
	switch {
	case a.namedFor(va, actors.VolumeID(name)):
		return actors.VolumeID(name), nil
	case pv == nil:
		return "", &fault{
			text:   fmt.Sprintf("PersistentVolume %s of VolumeAttachment %s was not seen", name, va.Name),
			passes: true,
		}
	}
	return "", &fault{text: fmt.Sprintf("PersistentVolume %s of VolumeAttachment %s is not one of driver %s", name, va.Name, a.config.Driver)}
}

// namedFor reports whether a VolumeAttachment's name, which the attach/detach controller derives from the
// volume's handle, proves that it was made for the volume. A PersistentVolume that external-provisioner
// made is named like its volume, so that its VolumeAttachments are known even when it is gone.
func (a *Attachments) namedFor(va *storagev1.VolumeAttachment, id actors.VolumeID) bool {
	return va.Name == attachmentName(id, a.config.Driver, actors.NodeID(va.Spec.NodeName))
}

// ignore tells once of a VolumeAttachment that asks for nothing that there can be.
func (a *Attachments) ignore(va *storagev1.VolumeAttachment, f *fault) {
	a.mu.Lock()
	known := a.told[va.Name] == f.text
	a.told[va.Name] = f.text
	a.mu.Unlock()
	if known {
		return
	}
	a.config.Logger.Warn("volume attachment is ignored", "volume-attachment", va.Name, "node-id", va.Spec.NodeName, "reason", f.text)
	if a.config.Events != nil {
		a.config.Events.tellAbout(&corev1.ObjectReference{
			Kind: "VolumeAttachment", APIVersion: storagev1.SchemeGroupVersion.String(), Name: va.Name, UID: va.UID,
		}, AttachmentIgnored, f.text+": it is ignored. Delete it, or restore what it names.")
	}
}

// forget lets a VolumeAttachment of that name be told of again.
func (a *Attachments) forget(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.told, name)
}

// withNode adds a node to a volume's, once.
func withNode(nodes []actors.NodeID, node actors.NodeID) []actors.NodeID {
	if slices.Contains(nodes, node) {
		return nodes
	}
	return append(nodes, node)
}
