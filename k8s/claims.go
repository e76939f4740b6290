// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/rds-csi/rds-csi/actors"
)

// ClaimsConfig is what Claims needs. Client and Driver must be set.
type ClaimsConfig struct {
	Client kubernetes.Interface
	Driver string
	// Timeout bounds a live read. 0 is DefaultTimeout.
	Timeout time.Duration
	// Logger tells when PersistentVolumes cannot be watched. nil discards.
	Logger *slog.Logger
}

// Claims finds the PersistentVolume of a volume, and by its claimRef the PersistentVolumeClaim. It keeps
// the only cache of PersistentVolumes, which Attachments and Annotations share.
//
// While Run runs, all PersistentVolumes of this driver are known, whatever their names. Without it each
// look-up is one live read of the PersistentVolume that external-provisioner names like the volume.
type Claims struct {
	client   kubernetes.Interface
	driver   string
	timeout  time.Duration
	informer cache.SharedIndexInformer
	running  atomic.Bool
}

// The indexes of this driver's PersistentVolumes.
const (
	byHandle = "handle" // spec.csi.volumeHandle
	byClaim  = "claim"  // spec.claimRef, as namespace/name
)

// NewClaims returns the claims of a driver's volumes. It is ErrInvalid where the Config is.
func NewClaims(config ClaimsConfig) (*Claims, error) {
	if config.Client == nil || config.Driver == "" {
		return nil, fmt.Errorf("look for claims: a client and the driver's name are needed: %w", actors.ErrInvalid)
	}
	if config.Timeout == 0 {
		config.Timeout = DefaultTimeout
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Claims{client: config.Client, driver: config.Driver, timeout: config.Timeout}
	c.informer = coreinformers.NewPersistentVolumeInformer(config.Client, 0, cache.Indexers{byHandle: c.index, byClaim: c.indexClaim})
	if err := c.informer.SetTransform(c.trim); err != nil {
		return nil, fmt.Errorf("trim cached PersistentVolumes: %w", err)
	}
	if err := c.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		config.Logger.Warn("persistent volumes cannot be watched", "error", err)
	}); err != nil {
		return nil, fmt.Errorf("watch PersistentVolumes: %w", err)
	}
	return c, nil
}

// Run keeps the cache until ctx ends.
func (c *Claims) Run(ctx context.Context) error {
	c.running.Store(true)
	defer c.running.Store(false)
	c.informer.RunWithContext(ctx)
	return nil
}

// Synced reports whether the cache has every PersistentVolume that there was when Run began.
func (c *Claims) Synced() bool { return c.informer.HasSynced() }

// Find returns a reference to a volume's claim. It is ErrNotFound where nothing claims the volume, and
// ErrUnavailable where that cannot be told yet.
func (c *Claims) Find(ctx context.Context, id actors.VolumeID) (*corev1.ObjectReference, error) {
	if pv := c.cached(id); pv != nil && pv.Spec.ClaimRef != nil {
		return claimOf(pv), nil
	}
	return c.read(ctx, id)
}

// Volumes returns the volumes that a claim is bound to, or has reserved, as far as the cache knows.
func (c *Claims) Volumes(namespace, claim string) []actors.VolumeID {
	objects, err := c.informer.GetIndexer().ByIndex(byClaim, namespace+"/"+claim)
	if err != nil {
		return nil // there is that index
	}
	var ids []actors.VolumeID
	for _, object := range objects {
		if pv, ok := object.(*corev1.PersistentVolume); ok {
			ids = append(ids, actors.VolumeID(c.handle(pv)))
		}
	}
	return ids
}

// cached returns the PersistentVolume of a volume as far as the cache knows, or nil. A volume that was
// handed over by hand may have several: the one in use counts, then one that a claim has had.
func (c *Claims) cached(id actors.VolumeID) *corev1.PersistentVolume {
	var found *corev1.PersistentVolume
	for _, pv := range c.allCached(id) {
		if found == nil || rank(pv) > rank(found) {
			found = pv
		}
	}
	return found
}

func rank(pv *corev1.PersistentVolume) int {
	switch {
	case pv.Spec.ClaimRef == nil:
		return 0
	case pv.Status.Phase == corev1.VolumeBound:
		return 2
	}
	return 1
}

// allCached returns every PersistentVolume of a volume that the cache knows.
func (c *Claims) allCached(id actors.VolumeID) []*corev1.PersistentVolume {
	objects, err := c.informer.GetIndexer().ByIndex(byHandle, string(id))
	if err != nil {
		return nil // there is that index
	}
	var pvs []*corev1.PersistentVolume
	for _, object := range objects {
		if pv, ok := object.(*corev1.PersistentVolume); ok {
			pvs = append(pvs, pv)
		}
	}
	return pvs
}

// named returns the PersistentVolume of that name, or nil where the cache has not seen it. Of another
// driver's it knows the name alone.
func (c *Claims) named(name string) *corev1.PersistentVolume {
	object, _, err := c.informer.GetStore().GetByKey(name)
	pv, ok := object.(*corev1.PersistentVolume)
	if err != nil || !ok {
		return nil
	}
	return pv
}

// read looks for the claim behind the cache.
func (c *Claims) read(ctx context.Context, id actors.VolumeID) (*corev1.ObjectReference, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	pv, err := c.client.CoreV1().PersistentVolumes().Get(ctx, string(id), metav1.GetOptions{})
	switch {
	case err == nil && pv.Spec.ClaimRef != nil && c.handle(pv) == string(id):
		return claimOf(pv), nil
	case err != nil && !Gone(err):
		return nil, fmt.Errorf("read PersistentVolume %s: %w: %w", id, err, actors.ErrUnavailable)
	case c.running.Load() && !c.Synced():
		return nil, fmt.Errorf("look for the PersistentVolume of %s: the cache is not filled yet: %w", id, actors.ErrUnavailable)
	}
	return nil, fmt.Errorf("no claim has volume %s: %w", id, actors.ErrNotFound)
}

// handle returns the volume handle of a PersistentVolume of this driver, and "" of any other.
func (c *Claims) handle(pv *corev1.PersistentVolume) string {
	if pv.Spec.CSI == nil || pv.Spec.CSI.Driver != c.driver {
		return ""
	}
	return pv.Spec.CSI.VolumeHandle
}

func (c *Claims) index(object any) ([]string, error) {
	if pv, ok := object.(*corev1.PersistentVolume); ok {
		if handle := c.handle(pv); handle != "" {
			return []string{handle}, nil
		}
	}
	return nil, nil
}

func (c *Claims) indexClaim(object any) ([]string, error) {
	if pv, ok := object.(*corev1.PersistentVolume); ok && c.handle(pv) != "" && pv.Spec.ClaimRef != nil {
		return []string{pv.Spec.ClaimRef.Namespace + "/" + pv.Spec.ClaimRef.Name}, nil
	}
	return nil, nil
}

// trim keeps in memory what is asked for: of another driver's volumes, that they exist.
func (c *Claims) trim(object any) (any, error) {
	pv, ok := object.(*corev1.PersistentVolume)
	if !ok {
		return object, nil // the marker of a deletion that was missed
	}
	small := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{
		Name: pv.Name, UID: pv.UID, ResourceVersion: pv.ResourceVersion,
	}}
	if handle := c.handle(pv); handle != "" {
		small.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: c.driver, VolumeHandle: handle}
		small.Spec.ClaimRef = pv.Spec.ClaimRef
		small.Status.Phase = pv.Status.Phase
	}
	return small, nil
}

// claimOf makes a reference that an event can be about. A claimRef may leave kind and version out.
func claimOf(pv *corev1.PersistentVolume) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		Kind:       "PersistentVolumeClaim",
		APIVersion: "v1",
		Namespace:  pv.Spec.ClaimRef.Namespace,
		Name:       pv.Spec.ClaimRef.Name,
		UID:        pv.Spec.ClaimRef.UID,
	}
}
