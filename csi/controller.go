// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"fmt"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
)

// Volumes is the supervisor of the volume actors. Its errors wrap one of the kinds of package
// actors, or are the context's. Those of Publish, Unpublish and Exclusive say what was to be done to
// which volume.
type Volumes interface {
	// Publish grants the volume to the node; a second one of a shared volume as the policy says. A repeat returns the volume as it is. ErrNotFound: the
	// volume, or the node, is not there.
	Publish(context.Context, actors.VolumeID, actors.NodeID, actors.Access, actors.Policy) (actors.Volume, error)
	// Unpublish revokes the node's grant; an empty node means all of them.
	Unpublish(context.Context, actors.VolumeID, actors.NodeID) error
	// Exclusive runs an operation that excludes every other one on the volume. One with the same
	// kind and key as one under way joins it.
	Exclusive(context.Context, actors.VolumeID, actors.Operation) (actors.Volume, error)
	// Get returns the volume as it is on the box; its Exists may be false. It waits for no operation,
	// so that one may call it.
	Get(context.Context, actors.VolumeID) (actors.Volume, error)
	// List returns this cluster's volumes. ErrUnavailable: not all of their rows were read yet.
	List(context.Context) ([]actors.Volume, error)
}

// Storage is the part of the box that makes and unmakes volumes. It is called by operations of
// Volumes.Exclusive only, except Capacity. Its errors wrap one of the kinds of package actors.
type Storage interface {
	// Create returns the volume as the box shows it, also where it was there before.
	Create(context.Context, actors.Spec) (actors.Volume, error)
	// Expand returns the volume as the box shows it. size is in bytes.
	Expand(ctx context.Context, id actors.VolumeID, size int64) (actors.Volume, error)
	// Delete removes the disk and its file. A volume without either is no error.
	Delete(context.Context, actors.VolumeID) error
	// Capacity returns the state of the pool that holds the directory.
	Capacity(ctx context.Context, volumePath string) (actors.Capacity, error)
}

// Config configures a Controller. Volumes, Storage, Cluster and BoxAddress must be given.
type Config struct {
	Volumes Volumes
	Storage Storage

	// Cluster is the 12 hex digits that mark this cluster's volumes on the box.
	Cluster string
	// BoxAddress is the box's IP address or host name, without a port. It stands in the context of
	// every new volume.
	BoxAddress string
	// BoxAliases are other addresses of the same box that StorageClasses and older volumes may name,
	// as after it was renumbered. None is the usual case.
	BoxAliases []string
	// NVMeAddress is where the box serves NVMe/TCP unless a StorageClass says otherwise. Empty:
	// BoxAddress.
	NVMeAddress string
	// VolumePath is the directory on the box for volumes whose StorageClass names none. Empty: the
	// StorageClass must name one.
	VolumePath string

	// Ready reports whether this process is the leader and knows the cluster's state. While it does
	// not, every RPC but ControllerGetCapabilities is Unavailable. It is called from many goroutines.
	// Nil: always.
	Ready func() bool
}

// A Controller is the CSI Controller service. Its methods return plain errors, which a Server turns
// into status codes.
type Controller struct {
	csipb.UnimplementedControllerServer
	cfg Config
}

// NewController returns a Controller, or ErrInvalid for a Config that cannot work.
func NewController(cfg Config) (*Controller, error) {
	if cfg.Volumes == nil || cfg.Storage == nil {
		return nil, fmt.Errorf("configure the controller: volumes or storage is missing: %w", actors.ErrInvalid)
	}
	if err := actors.CheckCluster(cfg.Cluster); err != nil {
		return nil, fmt.Errorf("configure the controller: %w", err)
	}
	if cfg.NVMeAddress == "" {
		cfg.NVMeAddress = cfg.BoxAddress
	}
	for _, a := range append([]string{cfg.BoxAddress, cfg.NVMeAddress}, cfg.BoxAliases...) {
		if err := checkAddress(a); err != nil {
			return nil, fmt.Errorf("configure the controller: box address: %w", err)
		}
	}
	if cfg.VolumePath != "" {
		clean, err := cleanVolumePath(cfg.VolumePath)
		if err != nil {
			return nil, fmt.Errorf("configure the controller: volume path: %w", err)
		}
		cfg.VolumePath = clean
	}
	if cfg.Ready == nil {
		cfg.Ready = func() bool { return true }
	}
	return &Controller{cfg: cfg}, nil
}

// controllerCapabilities are what the Controller service offers. PUBLISH_READONLY is not: whether a
// node may write is the access mode's to say, and the box cannot tell a reader from a writer.
var controllerCapabilities = []csipb.ControllerServiceCapability_RPC_Type{
	csipb.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
	csipb.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME,
	csipb.ControllerServiceCapability_RPC_LIST_VOLUMES,
	csipb.ControllerServiceCapability_RPC_LIST_VOLUMES_PUBLISHED_NODES,
	csipb.ControllerServiceCapability_RPC_GET_CAPACITY,
	csipb.ControllerServiceCapability_RPC_EXPAND_VOLUME,
	csipb.ControllerServiceCapability_RPC_GET_VOLUME,
	csipb.ControllerServiceCapability_RPC_GET_VOLUME_HEALTH,
	csipb.ControllerServiceCapability_RPC_LIST_VOLUME_HEALTH,
	csipb.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
}

// ControllerGetCapabilities is served always: the sidecars exit when it fails.
func (c *Controller) ControllerGetCapabilities(context.Context, *csipb.ControllerGetCapabilitiesRequest) (*csipb.ControllerGetCapabilitiesResponse, error) {
	caps := make([]*csipb.ControllerServiceCapability, 0, len(controllerCapabilities))
	for _, t := range controllerCapabilities {
		caps = append(caps, &csipb.ControllerServiceCapability{
			Type: &csipb.ControllerServiceCapability_Rpc{Rpc: &csipb.ControllerServiceCapability_RPC{Type: t}},
		})
	}
	return &csipb.ControllerGetCapabilitiesResponse{Capabilities: caps}, nil
}

// checkReady is ErrUnavailable on a standby, and on a leader that does not know the state yet.
func (c *Controller) checkReady() error {
	if !c.cfg.Ready() {
		return fmt.Errorf("this controller does not lead, or has not read the cluster's state yet: retry: %w", actors.ErrUnavailable)
	}
	return nil
}

// checkOwner is ErrPrecondition for a volume that another cluster created. A row without a ledger is
// the older driver's; whether it may be adopted is decided by its actor.
func (c *Controller) checkOwner(v actors.Volume) error {
	if v.Exists && v.Ours && v.Ledger.Cluster != c.cfg.Cluster {
		return fmt.Errorf("volume %s belongs to cluster %s, this is cluster %s: use it there, taking it over is not supported yet: %w", v.ID, v.Ledger.Cluster, c.cfg.Cluster, actors.ErrPrecondition)
	}
	return nil
}

// get returns an existing volume of this cluster.
func (c *Controller) get(ctx context.Context, id actors.VolumeID) (actors.Volume, error) {
	v, err := c.cfg.Volumes.Get(ctx, id)
	if err != nil {
		return actors.Volume{}, fmt.Errorf("look up volume %s: %w", id, err)
	}
	if !v.Exists {
		return actors.Volume{}, fmt.Errorf("volume %s is not on the box %s: %w", id, c.cfg.BoxAddress, actors.ErrNotFound)
	}
	return v, c.checkOwner(v)
}

// asked returns the volume that a request which only reads names.
func (c *Controller) asked(ctx context.Context, volumeID string) (actors.Volume, error) {
	if err := c.checkReady(); err != nil {
		return actors.Volume{}, err
	}
	id, err := checkVolumeID(volumeID)
	if err != nil {
		return actors.Volume{}, err
	}
	return c.get(ctx, id)
}

// publishedNodes returns the nodes that hold a grant, in the order of their grants.
func publishedNodes(v actors.Volume) []string {
	nodes := make([]string, 0, len(v.Ledger.Grants))
	for _, g := range v.Ledger.Grants {
		nodes = append(nodes, string(g.Node))
	}
	return nodes
}
