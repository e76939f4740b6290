// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// A Cluster is what kubelets know of the cluster, from informers that they share.
type Cluster struct {
	client  kubernetes.Interface
	factory informers.SharedInformerFactory
	pods    cache.SharedIndexInformer

	mu    sync.Mutex
	wakes map[string]chan struct{} // by node; each has room for one
}

const byNode = "node"

// NewCluster starts the informers and waits until they are filled. Close must follow.
func NewCluster(ctx context.Context, client kubernetes.Interface) (*Cluster, error) {
	c := &Cluster{client: client, factory: informers.NewSharedInformerFactory(client, 0), wakes: map[string]chan struct{}{}}
	c.pods = c.factory.Core().V1().Pods().Informer()
	if err := c.pods.AddIndexers(cache.Indexers{byNode: func(o any) ([]string, error) {
		if pod, ok := o.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
			return []string{pod.Spec.NodeName}, nil
		}
		return nil, nil
	}}); err != nil {
		return nil, fmt.Errorf("watch pods: %w", err)
	}
	attachments := c.factory.Storage().V1().VolumeAttachments().Informer()
	for _, informer := range []cache.SharedIndexInformer{c.pods, attachments} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: c.wake, DeleteFunc: c.wake, UpdateFunc: func(_, o any) { c.wake(o) },
		}); err != nil {
			return nil, fmt.Errorf("watch the cluster: %w", err)
		}
	}
	c.factory.Core().V1().PersistentVolumeClaims().Informer()
	c.factory.Core().V1().PersistentVolumes().Informer()
	c.factory.StartWithContext(ctx)
	for kind, synced := range c.factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return nil, fmt.Errorf("watch %v: %w", kind, context.Cause(ctx))
		}
	}
	return c, nil
}

// Close waits for the informers, whose context has ended.
func (c *Cluster) Close() { c.factory.Shutdown() }

// wake lets a node's kubelet look again.
func (c *Cluster) wake(o any) {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	var node string
	switch o := o.(type) {
	case *corev1.Pod:
		node = o.Spec.NodeName
	case *storagev1.VolumeAttachment:
		node = o.Spec.NodeName
	}
	c.mu.Lock()
	wake := c.wakes[node]
	c.mu.Unlock()
	select {
	case wake <- struct{}{}:
	default:
	}
}

func (c *Cluster) listen(node string) <-chan struct{} {
	wake := make(chan struct{}, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wakes[node] = wake
	return wake
}

// podsOf returns the pods that are bound to a node.
func (c *Cluster) podsOf(node string) ([]*corev1.Pod, error) {
	objects, err := c.pods.GetIndexer().ByIndex(byNode, node)
	var pods []*corev1.Pod
	for _, o := range objects {
		if pod, ok := o.(*corev1.Pod); ok {
			pods = append(pods, pod)
		}
	}
	return pods, err
}

// errNotYet says that something that is waited for is not there.
var errNotYet = errors.New("not yet")

// volumeOf returns the claim and the volume of a pod's volume.
func (c *Cluster) volumeOf(namespace, claim string) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume, error) {
	pvc, err := c.factory.Core().V1().PersistentVolumeClaims().Lister().PersistentVolumeClaims(namespace).Get(claim)
	if err != nil {
		return nil, nil, fmt.Errorf("claim %s: %w: %w", claim, err, errNotYet)
	}
	pv, err := c.factory.Core().V1().PersistentVolumes().Lister().Get(pvc.Spec.VolumeName)
	if err != nil {
		return nil, nil, fmt.Errorf("volume of claim %s: %w: %w", claim, err, errNotYet)
	}
	if pv.Spec.CSI == nil {
		return nil, nil, fmt.Errorf("volume %s is not of a CSI driver", pv.Name)
	}
	return pvc, pv, nil
}

// attachment returns the VolumeAttachment of a volume on a node, once it is attached.
func (c *Cluster) attachment(pv *corev1.PersistentVolume, node string) (*storagev1.VolumeAttachment, error) {
	name := AttachmentName(pv.Spec.CSI.VolumeHandle, pv.Spec.CSI.Driver, node)
	va, err := c.factory.Storage().V1().VolumeAttachments().Lister().Get(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("VolumeAttachment of %s on %s: %w: %w", pv.Name, node, err, errNotYet)
	case !va.Status.Attached || va.DeletionTimestamp != nil:
		return nil, fmt.Errorf("VolumeAttachment of %s on %s is not attached: %w", pv.Name, node, errNotYet)
	}
	return va, nil
}

// AttachmentName is how the attach/detach controller names a VolumeAttachment, and kubelets find it.
func AttachmentName(handle, driver, node string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(handle+driver+node)))
}
