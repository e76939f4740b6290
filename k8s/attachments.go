// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	storageinformers "k8s.io/client-go/informers/storage/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/rds-csi/rds-csi/actors"
)

// AttachmentsConfig is what Attachments needs. Client, Claims and Driver must be set.
type AttachmentsConfig struct {
	Client kubernetes.Interface
	// Claims has the PersistentVolumes. Its Run must run beside that of Attachments.
	Claims *Claims
	// Driver is the CSI driver's name, which VolumeAttachments name as their attacher.
	Driver string
	// TimeoutKey is the key of the volume context, and so of a PersistentVolume's volumeAttributes, that
	// holds how long a migration may take, in seconds. "": every volume has the default.
	TimeoutKey string
	// FencingKey is likewise the key that holds the fencing mode. "": none is told.
	FencingKey string
	// Timeout bounds Stale and Adopt. 0 is DefaultTimeout.
	Timeout time.Duration
	// Changed is called when Wanted may answer with less than before, or for the first time: the caches
	// were filled, a VolumeAttachment went away or was replaced, or one can be mapped to its volume at
	// last. It must not block; many calls may follow each other closely. nil: nobody asks.
	Changed func()
	// Events tells of VolumeAttachments that are ignored. nil: the log alone does.
	Events *Events
	// Logger tells of them too, and when VolumeAttachments cannot be watched. nil discards.
	Logger *slog.Logger
}

// Attachments knows who should be attached: the VolumeAttachments of this driver. It is the part of
// actors.Orchestrator that is about them.
//
// A VolumeAttachment names a PersistentVolume, not a volume. One whose PersistentVolume was not seen
// makes Wanted fail as a whole, since it may be anyone's. One that never can be mapped, since somebody
// edited what it names, is told of once and ignored; Stale finds it by its name all the same.
type Attachments struct {
	config   AttachmentsConfig
	informer cache.SharedIndexInformer
	listing  listing

	mu   sync.Mutex
	told map[string]string // what was said of an ignored VolumeAttachment, by its name
}

// The indexes of the VolumeAttachments of this driver.
const (
	byNode             = "node"   // spec.nodeName
	byPersistentVolume = "volume" // spec.source.persistentVolumeName
)

// NewAttachments returns the attachments of a driver's volumes. It is ErrInvalid where the Config is.
func NewAttachments(config AttachmentsConfig) (*Attachments, error) {
	if config.Client == nil || config.Claims == nil || config.Driver == "" {
		return nil, fmt.Errorf("look for attachments: a client, claims and the driver's name are needed: %w", actors.ErrInvalid)
	}
	if config.Timeout == 0 {
		config.Timeout = DefaultTimeout
	}
	if config.Changed == nil {
		config.Changed = func() {}
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Attachments{config: config, told: make(map[string]string)}
	a.listing = listing{read: a.attached, turn: make(chan struct{}, 1)}
	a.informer = storageinformers.NewVolumeAttachmentInformer(config.Client, 0, cache.Indexers{
		byNode:             a.index(func(va *storagev1.VolumeAttachment) string { return va.Spec.NodeName }),
		byPersistentVolume: a.index(persistentVolumeOf),
	})
	if err := a.informer.SetTransform(a.trim); err != nil {
		return nil, fmt.Errorf("trim cached VolumeAttachments: %w", err)
	}
	if err := a.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		config.Logger.Warn("volume attachments cannot be watched", "error", err)
	}); err != nil {
		return nil, fmt.Errorf("watch VolumeAttachments: %w", err)
	}
	return a, a.listen()
}

// Run keeps the cache until ctx ends.
func (a *Attachments) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.informer.RunWithContext(ctx)
	}()
	if cache.WaitForCacheSync(ctx.Done(), a.Synced) {
		a.config.Changed()
	}
	<-done
	return nil
}

// Synced reports whether the caches have every VolumeAttachment and PersistentVolume that there was when
// their Run began.
func (a *Attachments) Synced() bool { return a.informer.HasSynced() && a.config.Claims.Synced() }

// Wanted implements actors.Orchestrator. It costs one pass over the cached VolumeAttachments.
func (a *Attachments) Wanted() (map[actors.VolumeID][]actors.NodeID, error) {
	if !a.Synced() {
		return nil, fmt.Errorf("tell who should be attached: the caches are not filled yet: %w", actors.ErrUnavailable)
	}
	attachments := a.informer.GetStore().List()
	wanted := make(map[actors.VolumeID][]actors.NodeID, len(attachments))
	for _, object := range attachments {
		va, ok := object.(*storagev1.VolumeAttachment)
		if !ok || va.Spec.Attacher != a.config.Driver {
			continue
		}
		id, node, fault := a.locate(va)
		switch {
		case fault == nil:
			wanted[id] = withNode(wanted[id], node)
		case fault.passes:
			return nil, fmt.Errorf("tell who should be attached: %s: %w", fault.text, actors.ErrUnavailable)
		default:
			a.ignore(va, fault)
		}
	}
	return wanted, nil
}

// Attached returns the nodes to which a volume is attached by the word of its cached VolumeAttachments, in
// the order of their creation. It is for people, and decides nothing.
func (a *Attachments) Attached(id actors.VolumeID) []actors.Grant {
	var attached []storagev1.VolumeAttachment
	for _, pv := range a.config.Claims.allCached(id) {
		for _, va := range a.cached(byPersistentVolume, pv.Name) {
			if va.Status.Attached {
				attached = append(attached, *va)
			}
		}
	}
	return grantsOf(attached)
}
