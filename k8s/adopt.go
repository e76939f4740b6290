// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rds-csi/rds-csi/actors"
)

// Adopt implements actors.Orchestrator. The cache only tells under which names to ask for
// PersistentVolumes; what the API server answers now decides.
//
// It is ErrPrecondition, too, where the cluster attaches the volume in a way in which it must never be
// attached, so that no ledger can say so: a person has to detach what is too much.
func (a *Attachments) Adopt(ctx context.Context, id actors.VolumeID) (actors.Adoption, error) {
	if !a.config.Claims.Synced() {
		return actors.Adoption{}, fmt.Errorf("look for the PersistentVolume of %s: the cache is not filled yet: %w", id, actors.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	pvs, err := a.persistentVolumes(ctx, id)
	if err != nil {
		return actors.Adoption{}, err
	}
	used := slices.MaxFunc(pvs, func(x, y *corev1.PersistentVolume) int { return cmp.Compare(rank(x), rank(y)) })
	access, err := accessOf(used)
	if err != nil {
		return actors.Adoption{}, err
	}
	all, err := a.listing.get(ctx)
	if err != nil {
		return actors.Adoption{}, fmt.Errorf("list VolumeAttachments: %w: %w", err, actors.ErrUnavailable)
	}
	grants := grantsOf(slices.DeleteFunc(slices.Clone(all), func(va storagev1.VolumeAttachment) bool {
		return !a.attaches(&va, id, pvs)
	}))
	if err := checkGrants(id, access, grants); err != nil {
		return actors.Adoption{}, err
	}
	fencing, err := a.fencing(used)
	if err != nil {
		return actors.Adoption{}, err
	}
	return actors.Adoption{Access: access, Timeout: a.migrationTimeout(used), Fencing: fencing, Grants: grants}, nil
}

// persistentVolumes returns the PersistentVolumes of a volume, read live. There is one at least.
func (a *Attachments) persistentVolumes(ctx context.Context, id actors.VolumeID) ([]*corev1.PersistentVolume, error) {
	names := []string{string(id)}
	for _, pv := range a.config.Claims.allCached(id) {
		if pv.Name != names[0] {
			names = append(names, pv.Name)
		}
	}
	slices.Sort(names[1:])
	var found []*corev1.PersistentVolume
	for _, name := range names {
		pv, err := a.config.Client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
		switch {
		case Gone(err):
		case err != nil:
			return nil, fmt.Errorf("read PersistentVolume %s: %w: %w", name, err, actors.ErrUnavailable)
		case a.config.Claims.handle(pv) == string(id):
			found = append(found, pv)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no PersistentVolume of driver %s in this cluster has volume %s, make one if it is to be this cluster's: %w",
			a.config.Driver, id, actors.ErrPrecondition)
	}
	return found, nil
}

// accessOf returns how a PersistentVolume may be attached: the widest of its access modes that its
// volume mode allows, where writing is wider than reading on many nodes.
func accessOf(pv *corev1.PersistentVolume) (actors.Access, error) {
	has := func(modes ...corev1.PersistentVolumeAccessMode) bool {
		return slices.ContainsFunc(modes, func(m corev1.PersistentVolumeAccessMode) bool {
			return slices.Contains(pv.Spec.AccessModes, m)
		})
	}
	block := pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == corev1.PersistentVolumeBlock
	switch {
	case block && has(corev1.ReadWriteMany):
		return actors.AccessShared, nil
	case has(corev1.ReadWriteOnce, corev1.ReadWriteOncePod):
		return actors.AccessSingle, nil
	case has(corev1.ReadOnlyMany):
		return actors.AccessReader, nil
	case has(corev1.ReadWriteMany):
		return actors.AccessNone, fmt.Errorf("PersistentVolume %s is ReadWriteMany with a filesystem, which would not survive two nodes: use volumeMode Block, or ReadWriteOnce: %w",
			pv.Name, actors.ErrPrecondition)
	}
	return actors.AccessNone, fmt.Errorf("PersistentVolume %s has no access mode that is known, but %.80q: %w", pv.Name, pv.Spec.AccessModes, actors.ErrPrecondition)
}

// migrationTimeout returns how long a migration of the volume may take, in seconds.
func (a *Attachments) migrationTimeout(pv *corev1.PersistentVolume) int {
	text := pv.Spec.CSI.VolumeAttributes[a.config.TimeoutKey]
	if text == "" {
		return actors.DefaultTimeout
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < actors.MinTimeout || n > actors.MaxTimeout {
		a.config.Logger.Warn("migration timeout of a volume is not one, the default is used", "persistent-volume", pv.Name,
			"value", text[:min(len(text), 32)], "lowest", actors.MinTimeout, "highest", actors.MaxTimeout, "default", actors.DefaultTimeout)
		return actors.DefaultTimeout
	}
	return n
}

// fencing returns the mode with which this driver made the volume, and 0 where it did not. A value that is
// none is no reason to fence less than was promised.
func (a *Attachments) fencing(pv *corev1.PersistentVolume) (actors.Fencing, error) {
	text := pv.Spec.CSI.VolumeAttributes[a.config.FencingKey]
	if text == "" {
		return 0, nil
	}
	mode, err := actors.ParseFencing(text)
	if err != nil {
		return 0, fmt.Errorf("PersistentVolume %s, volumeAttributes %s: %v: %w", pv.Name, a.config.FencingKey, err, actors.ErrPrecondition) //nolint:errorlint // of one kind only
	}
	return mode, nil
}

// attached lists the VolumeAttachments of this driver that say attached, as they are now.
func (a *Attachments) attached(ctx context.Context) ([]storagev1.VolumeAttachment, error) {
	list, err := a.config.Client.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(va storagev1.VolumeAttachment) bool {
		return va.Spec.Attacher != a.config.Driver || !va.Status.Attached
	}), nil
}

// attaches reports whether a VolumeAttachment of this driver is for the volume that the PersistentVolumes
// have, or was when it was made.
func (a *Attachments) attaches(va *storagev1.VolumeAttachment, id actors.VolumeID, pvs []*corev1.PersistentVolume) bool {
	if inline := inlineOf(va); inline != nil {
		return inline.Driver == a.config.Driver && inline.VolumeHandle == string(id)
	}
	name := persistentVolumeOf(va)
	return slices.ContainsFunc(pvs, func(pv *corev1.PersistentVolume) bool { return pv.Name == name }) || a.namedFor(va, id)
}

// grantsOf returns the nodes of VolumeAttachments, in the order of their creation and then of their names.
func grantsOf(attachments []storagev1.VolumeAttachment) []actors.Grant {
	slices.SortFunc(attachments, func(x, y storagev1.VolumeAttachment) int {
		return cmp.Or(x.CreationTimestamp.Compare(y.CreationTimestamp.Time), cmp.Compare(x.Name, y.Name))
	})
	var grants []actors.Grant
	for _, va := range attachments {
		node := actors.NodeID(va.Spec.NodeName)
		if !slices.ContainsFunc(grants, func(g actors.Grant) bool { return g.Node == node }) {
			grants = append(grants, actors.Grant{Node: node, At: actors.TokenAt(va.CreationTimestamp.Time)})
		}
	}
	return grants
}

// checkGrants reports what no ledger may say.
func checkGrants(id actors.VolumeID, access actors.Access, grants []actors.Grant) error {
	most := len(grants)
	switch access {
	case actors.AccessSingle:
		most = 1
	case actors.AccessShared:
		most = 2
	case actors.AccessNone, actors.AccessReader:
	}
	for _, g := range grants {
		if err := g.Node.Check(); err != nil {
			return fmt.Errorf("volume %s is attached to a node that cannot be recorded: %v: %w", id, err, actors.ErrPrecondition) //nolint:errorlint // of one kind only
		}
	}
	if len(grants) > most {
		return fmt.Errorf("volume %s, which is %v, is attached to %d nodes by its VolumeAttachments, the first to %s and %s: delete the pods there but for those that may have it: %w",
			id, access, len(grants), grants[0].Node, grants[1].Node, actors.ErrPrecondition)
	}
	return nil
}
