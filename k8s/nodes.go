// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/rds-csi/rds-csi/actors"
)

// NodesConfig is what Nodes needs. Client and Driver must be set.
type NodesConfig struct {
	Client kubernetes.Interface
	// Driver is the CSI driver's name, by which VolumeAttachments and volumes in use are found.
	Driver string
	// NQNKey is the key of the publish context, and so of a VolumeAttachment's metadata, that holds the
	// subsystem NQN. "": Check never tells one.
	NQNKey string
	// Timeout bounds each method. 0 is DefaultTimeout.
	Timeout time.Duration
}

// Nodes implements actors.Nodes by live reads.
type Nodes struct {
	client  kubernetes.Interface
	driver  string
	nqnKey  string
	timeout time.Duration
}

var _ actors.Nodes = (*Nodes)(nil)

// NewNodes returns the nodes of a cluster. It is ErrInvalid where the Config is.
func NewNodes(config NodesConfig) (*Nodes, error) {
	if config.Client == nil || config.Driver == "" {
		return nil, fmt.Errorf("watch over nodes: a client and the driver's name are needed: %w", actors.ErrInvalid)
	}
	if config.Timeout == 0 {
		config.Timeout = DefaultTimeout
	}
	return &Nodes{client: config.Client, driver: config.Driver, nqnKey: config.NQNKey, timeout: config.Timeout}, nil
}

// Check implements actors.Nodes. A node is fenced where it has the out-of-service taint, or where
// nobody wants the volume there any more: its VolumeAttachment is gone or being deleted. The latter
// is asked since external-attacher publishes again what a listing of volumes omits, and would so
// undo a fence.
func (n *Nodes) Check(ctx context.Context, id actors.VolumeID, node actors.NodeID) (attached string, err error) {
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	object, err := n.client.CoreV1().Nodes().Get(ctx, string(node), metav1.GetOptions{})
	switch {
	case Gone(err):
		return "", fmt.Errorf("node %s does not exist: %w", node, actors.ErrNotFound)
	case err != nil:
		return "", fmt.Errorf("read node %s: %w: %w", node, err, actors.ErrUnavailable)
	case outOfService(object):
		return "", fmt.Errorf("node %s is fenced by the taint %s, remove it when the node is back: %w",
			node, corev1.TaintNodeOutOfService, actors.ErrPrecondition)
	}
	name := attachmentName(id, n.driver, node)
	attachment, err := n.client.StorageV1().VolumeAttachments().Get(ctx, name, metav1.GetOptions{})
	switch {
	case Gone(err):
		return "", fmt.Errorf("no VolumeAttachment %s wants the volume on node %s: %w", name, node, actors.ErrPrecondition)
	case err != nil:
		return "", fmt.Errorf("read VolumeAttachment %s: %w: %w", name, err, actors.ErrUnavailable)
	case attachment.DeletionTimestamp != nil:
		return "", fmt.Errorf("VolumeAttachment %s is being deleted: %w", name, actors.ErrPrecondition)
	case attachment.Spec.Attacher != n.driver || attachment.Spec.NodeName != string(node):
		return "", fmt.Errorf("VolumeAttachment %s is for driver %.63q and node %.63q, which is not what its name says: %w",
			name, attachment.Spec.Attacher, attachment.Spec.NodeName, actors.ErrPrecondition)
	}
	if n.nqnKey == "" {
		return "", nil
	}
	return attachment.Status.AttachmentMetadata[n.nqnKey], nil
}

// Lost implements actors.Nodes. Whatever cannot be read counts as lost.
func (n *Nodes) Lost(ctx context.Context, id actors.VolumeID, node actors.NodeID) string {
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	object, err := n.client.CoreV1().Nodes().Get(ctx, string(node), metav1.GetOptions{})
	switch {
	case Gone(err):
		return nodeGone
	case err != nil:
		return fmt.Sprintf("node could not be read: %.160s", err)
	case unwell(object) == "" && uses(object, id, n.driver):
		return "node lists the volume in use"
	}
	return unwell(object)
}

const nodeGone = "node object is gone"

// unwell says why a node's word that it let a volume go may be missing or old. It is empty where the
// node is well.
func unwell(node *corev1.Node) string {
	switch {
	case outOfService(node):
		return "node has the taint " + corev1.TaintNodeOutOfService
	case !ready(node):
		return "node is not ready"
	}
	return ""
}

// uses reports whether the kubelet lists the volume in use. It does so before it mounts it.
func uses(node *corev1.Node, id actors.VolumeID, driver string) bool {
	return slices.Contains(node.Status.VolumesInUse, inUseName(id, driver))
}

func outOfService(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}

// ready reports whether the kubelet says so, and lately enough for the node controller to believe it.
func ready(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// attachmentName is how the attach/detach controller names a VolumeAttachment and the kubelet finds
// it again. That name is part of no API, but the two, which may be of different versions, depend on it.
func attachmentName(id actors.VolumeID, driver string, node actors.NodeID) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(string(id)+driver+string(node))))
}

// inUseName is how the kubelet names a volume in a node's status.
func inUseName(id actors.VolumeID, driver string) corev1.UniqueVolumeName {
	return corev1.UniqueVolumeName("kubernetes.io/csi/" + driver + "^" + string(id))
}
