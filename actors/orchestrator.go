// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"fmt"
	"time"
)

// An Orchestrator is Kubernetes as the actors need it: it knows who should be attached, where the box
// knows who was granted. Its methods but Wanted read live, return within a few seconds and are called by
// an actor's worker, so that nothing else happens to the volume meanwhile. Each wraps one of this
// package's kinds of error.
type Orchestrator interface {
	// Wanted returns the nodes for which there are VolumeAttachments of each volume, attached, not yet
	// attached, and being deleted, from a cache that may lag. It is ErrUnavailable while the cache is not
	// filled, or while a VolumeAttachment cannot be mapped to its volume.
	Wanted() (map[VolumeID][]NodeID, error)
	// Stale reports whether a grant is left over: nil where no VolumeAttachment asks for the volume on
	// the node and the node is gone or does not list the volume in use. lost then says why the node may be
	// using it all the same, as of Nodes.Lost. ErrPrecondition: it is wanted, or in use.
	// ErrUnavailable: that cannot be told.
	Stale(ctx context.Context, id VolumeID, node NodeID) (lost string, err error)
	// Admit returns nil where a shared volume that holder has may be granted to target too, since a VM
	// migrates from one to the other, or since the policy asks for no such thing. ErrPrecondition: it
	// may not. ErrUnavailable: that cannot be told.
	Admit(ctx context.Context, id VolumeID, holder, target NodeID, policy Policy) error
	// Migration says how the live migration stands that has the volume on two nodes. ErrNotFound: nobody
	// migrates it, as where there is no KubeVirt. ErrUnavailable: that cannot be told.
	Migration(ctx context.Context, id VolumeID, source, target NodeID) (Migration, error)
	// Adopt says what the cluster knows of a volume of the older driver, whose row carries no ledger.
	// ErrPrecondition: the volume is not this cluster's. ErrUnavailable: that cannot be told.
	Adopt(ctx context.Context, id VolumeID) (Adoption, error)
}

// A Policy says which second node a shared volume admits. It is the StorageClass parameter rwxPolicy.
type Policy byte

// The policies.
const (
	// PolicyAuto is PolicyKubeVirt where there is KubeVirt, and PolicyAny where there is none.
	PolicyAuto Policy = iota
	// PolicyKubeVirt admits the target of a live migration of the one VM that uses the volume.
	PolicyKubeVirt
	// PolicyAny admits any second node.
	PolicyAny
)

// ParsePolicy returns the policy that a StorageClass names: "auto", "kubevirt", "any", or "" for the
// default, auto. Anything else is ErrInvalid.
func ParsePolicy(s string) (Policy, error) {
	switch s {
	case "", "auto":
		return PolicyAuto, nil
	case "kubevirt":
		return PolicyKubeVirt, nil
	case "any":
		return PolicyAny, nil
	}
	return 0, fmt.Errorf("rwxPolicy %.32q is not one of auto, kubevirt, any: %w", s, ErrInvalid)
}

// String returns the policy's name in a StorageClass.
func (p Policy) String() string {
	switch p {
	case PolicyAuto:
		return "auto"
	case PolicyKubeVirt:
		return "kubevirt"
	case PolicyAny:
		return "any"
	}
	return fmt.Sprintf("Policy(%d)", byte(p))
}

// A Migration is how KubeVirt says that a live migration stands.
type Migration struct {
	Source, Target NodeID
	// UID is that of the VirtualMachineInstanceMigration.
	UID string
	// Started is when the guest's memory began to move; zero: not yet.
	Started time.Time
	// Limit is how long it may take from then on; zero: KubeVirt does not say.
	Limit time.Duration
	// Verdict is how it ended, if it has.
	Verdict Verdict
	// Reason is KubeVirt's own word for a failure.
	Reason string
}

// A Verdict is how a live migration ended.
type Verdict byte

// The verdicts.
const (
	// VerdictOpen: it has not ended.
	VerdictOpen Verdict = iota
	// VerdictSucceeded: the VM runs on the target.
	VerdictSucceeded
	// VerdictFailed: the VM runs on the source, and the target is given up.
	VerdictFailed
	// VerdictUncertain: it ended, and KubeVirt's words do not tell where the VM runs.
	VerdictUncertain
)

// String returns the verdict's name in logs and traces.
func (v Verdict) String() string {
	switch v {
	case VerdictOpen:
		return "open"
	case VerdictSucceeded:
		return "succeeded"
	case VerdictFailed:
		return "failed"
	case VerdictUncertain:
		return "uncertain"
	}
	return fmt.Sprintf("Verdict(%d)", byte(v))
}

// An Adoption is what the cluster knows of a volume whose row carries no ledger.
type Adoption struct {
	// Access is that of the PersistentVolume.
	Access Access
	// Timeout of migrations in seconds, MinTimeout to MaxTimeout.
	Timeout int
	// Fencing is the mode with which this driver made the volume, whose ledger was lost since; zero for the
	// older driver's, which becomes FencingEpoch.
	Fencing Fencing
	// Grants are the nodes whose VolumeAttachment says attached, in the order of its creation, with the
	// time of that.
	Grants []Grant
}
