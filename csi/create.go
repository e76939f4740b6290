// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"fmt"
	"strconv"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
)

// A createRequest is a checked CreateVolumeRequest.
type createRequest struct {
	id     actors.VolumeID
	use    usage
	params parameters
	sizes  sizeRange
	size   int64 // to make, in bytes
}

// CreateVolume makes an empty volume, detached and without a filesystem. A repeat returns the volume
// that is there, or AlreadyExists where it is not what is asked for.
func (c *Controller) CreateVolume(ctx context.Context, req *csipb.CreateVolumeRequest) (*csipb.CreateVolumeResponse, error) {
	if err := c.checkReady(); err != nil {
		return nil, err
	}
	r, err := c.parseCreate(req)
	if err != nil {
		return nil, err
	}
	spec := c.spec(r)
	v, err := c.cfg.Volumes.Exclusive(ctx, r.id, actors.Operation{
		Kind: actors.OpCreate,
		Key:  specKey(spec),
		Run:  func(ctx context.Context) (actors.Volume, error) { return c.create(ctx, spec) },
	})
	if err != nil {
		return nil, err
	}
	if err := c.checkSame(v, r); err != nil {
		return nil, err
	}
	return &csipb.CreateVolumeResponse{Volume: &csipb.Volume{
		VolumeId:      string(v.ID),
		CapacityBytes: v.Size,
		VolumeContext: c.volumeContext(v, r),
	}}, nil
}

func (c *Controller) parseCreate(req *csipb.CreateVolumeRequest) (createRequest, error) {
	var r createRequest
	var err error
	if r.id, err = volumeIDOf(req.GetName()); err != nil {
		return r, err
	}
	if r.use, err = parseCapabilities(req.GetVolumeCapabilities()); err != nil {
		return r, err
	}
	switch {
	case req.GetVolumeContentSource() != nil:
		return r, fmt.Errorf("volume_content_source is not supported: create an empty volume and copy into it: %w", actors.ErrInvalid)
	case req.GetAccessibilityRequirements() != nil:
		return r, fmt.Errorf("accessibility_requirements are not supported: every node reaches the box: %w", actors.ErrInvalid)
	case len(req.GetMutableParameters()) > 0:
		return r, fmt.Errorf("mutable_parameters are not supported: leave volumeAttributesClassName out: %w", actors.ErrInvalid)
	}
	if r.params, err = c.parseParameters(req.GetParameters()); err != nil {
		return r, err
	}
	if err := r.resolveFSType(); err != nil {
		return r, err
	}
	if r.sizes, err = parseRange(req.GetCapacityRange()); err != nil {
		return r, err
	}
	if r.size, err = r.sizes.size(); err != nil {
		return r, err
	}
	if r.use.fsType == "xfs" && r.size < minXFS {
		return r, fmt.Errorf("%d bytes are too few for xfs: ask for %d or more, or for ext4: %w", r.size, int64(minXFS), actors.ErrOutOfRange)
	}
	return r, nil
}

// resolveFSType settles which filesystem the volume gets: the capability's, which the provisioner
// takes from the StorageClass, else the StorageClass's, else the default.
func (r *createRequest) resolveFSType() error {
	switch {
	case r.use.block:
	case r.use.fsType == "" && r.params.fsType == "":
		r.use.fsType = defaultFSType
	case r.use.fsType == "":
		r.use.fsType = r.params.fsType
	case r.params.fsType != "" && r.params.fsType != r.use.fsType:
		return fmt.Errorf("the capability asks for %s, parameter %s for %s: ask for one: %w", r.use.fsType, keyFSType, r.params.fsType, actors.ErrInvalid)
	}
	return nil
}

// create is the operation: it returns the volume that is there, whatever it is like, or makes it,
// after a look whether the pool could ever hold it. What the pool has free is for the box to judge,
// which verifies that a refusal left nothing behind.
func (c *Controller) create(ctx context.Context, spec actors.Spec) (actors.Volume, error) {
	v, err := c.cfg.Volumes.Get(ctx, spec.ID)
	if err != nil || v.Exists {
		return v, err
	}
	pool, err := c.cfg.Storage.Capacity(ctx, spec.VolumePath)
	if err != nil {
		return actors.Volume{}, fmt.Errorf("read the capacity of %s: %w", spec.VolumePath, err)
	}
	if spec.Size > pool.Total {
		return actors.Volume{}, fmt.Errorf("%d bytes are more than the pool of %s has, %d: ask for less: %w", spec.Size, spec.VolumePath, pool.Total, actors.ErrOutOfRange)
	}
	v, err = c.cfg.Storage.Create(ctx, spec)
	if err == nil && !v.Exists {
		err = fmt.Errorf("the box acknowledged it and does not show it: %w", actors.ErrUnresolved)
	}
	return v, err
}

func (c *Controller) spec(r createRequest) actors.Spec {
	prefix := r.params.nqnPrefix
	if prefix == actors.DefaultNQNPrefix {
		prefix = "" // ledgers leave it out
	}
	return actors.Spec{
		ID:         r.id,
		Size:       r.size,
		VolumePath: r.params.volumePath,
		NQN:        actors.NQN(r.params.nqnPrefix, r.id, 0),
		Ports:      r.params.ports,
		Ledger: actors.Ledger{
			Cluster: c.cfg.Cluster,
			Gen:     1,
			Fencing: r.params.fencing,
			Timeout: r.params.timeout,
			Prefix:  prefix,
		},
	}
}

// specKey tells two requests to create one volume apart.
func specKey(s actors.Spec) string {
	return fmt.Sprintf("%d %s %s %d-%d %s", s.Size, s.VolumePath, s.NQN, s.Ports.First, s.Ports.Last, s.Ledger)
}

// checkSame is ErrExists where the volume is there with other properties than those asked for, and
// ErrPrecondition where it is not this cluster's.
func (c *Controller) checkSame(v actors.Volume, r createRequest) error {
	if err := c.checkOwner(v); err != nil {
		return err
	}
	if !v.Ours {
		return fmt.Errorf("volume %s is on the box without a ledger: it may be an older driver's and hold data, and adopting it is not supported yet: use another name: %w", v.ID, actors.ErrPrecondition)
	}
	differs := func(what string, is, asked any) error {
		return fmt.Errorf("volume %s has %s %v, asked for is %v: use another name or delete the volume: %w", v.ID, what, is, asked, actors.ErrExists)
	}
	prefix, _ := actors.NQNPrefix(v.NQN, v.ID)
	switch p := r.params; {
	case !r.sizes.holds(v.Size):
		return differs("size", v.Size, r.size)
	case v.Ledger.Fencing != p.fencing:
		return differs(keyFencing, v.Ledger.Fencing, p.fencing)
	case v.Ledger.Timeout != p.timeout:
		return differs(keyTimeout, v.Ledger.Timeout, p.timeout)
	case prefix != p.nqnPrefix:
		return differs(keyNQNPrefix, prefix, p.nqnPrefix)
	case v.Port < p.ports.First || v.Port > p.ports.Last:
		return differs(keyNVMePort, v.Port, fmt.Sprintf("%d-%d", p.ports.First, p.ports.Last))
	}
	return nil
}

// volumeContext is what the PersistentVolume keeps: what was asked for, and the port, which the box
// chose. It has nothing of the grants, since it must never change.
func (c *Controller) volumeContext(v actors.Volume, r createRequest) map[string]string {
	m := map[string]string{
		keyRDSAddress:     c.cfg.BoxAddress,
		keyNVMeAddress:    r.params.nvmeAddress,
		keyNVMePort:       strconv.Itoa(int(v.Port)),
		keyNQN:            actors.NQN(r.params.nqnPrefix, v.ID, 0),
		keyVolumePath:     r.params.volumePath,
		keyCtrlLossTmo:    strconv.Itoa(r.params.ctrlLossTmo),
		keyReconnectDelay: strconv.Itoa(r.params.reconnectDelay),
		keyKeepAliveTmo:   strconv.Itoa(r.params.keepAliveTmo),
		keyTimeout:        strconv.Itoa(r.params.timeout),
		keyFencing:        r.params.fencing.String(),
		keyRWXPolicy:      r.params.rwxPolicy.String(),
	}
	if !r.use.block {
		m[keyFSType] = r.use.fsType
	}
	return m
}
