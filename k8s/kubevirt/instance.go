// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// An instance is what the driver needs of a VirtualMachineInstance.
type instance struct {
	metav1.ObjectMeta // trimmed

	node   string // where the VM runs
	phase  string
	claims []string // names of PersistentVolumeClaims in its namespace
	memory int64    // of the guest in GB, as KubeVirt counts it; 0: not readable
	state  *state   // of its latest migration that was handed off
}

// The phases of an instance that runs no more.
const (
	instanceSucceeded = "Succeeded"
	instanceFailed    = "Failed"
)

// final reports whether the VM runs no more.
func (i *instance) final() bool { return i.phase == instanceSucceeded || i.phase == instanceFailed }

// newInstance reads a VirtualMachineInstance.
func newInstance(u *unstructured.Unstructured) *instance {
	o := object(u.Object)
	status := o.at("status")
	return &instance{
		ObjectMeta: trimmed(u),
		node:       status.text("nodeName"),
		phase:      status.text("phase"),
		claims:     claimsOf(o.at("spec"), status),
		memory:     memoryOf(o.at("spec", "domain")),
		state:      newState(status.at("migrationState")),
	}
}

// trimmed keeps what is asked for of an object's metadata.
func trimmed(u *unstructured.Unstructured) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:         u.GetNamespace(),
		Name:              u.GetName(),
		UID:               u.GetUID(),
		ResourceVersion:   u.GetResourceVersion(),
		CreationTimestamp: u.GetCreationTimestamp(),
		DeletionTimestamp: u.GetDeletionTimestamp(),
	}
}

// claimsOf returns the claims that an instance uses, or says that it does: those of its specification,
// and, as hotplugged and migrated disks may have left that, those of its status.
func claimsOf(spec, status object) []string {
	var claims []string
	add := func(name string) {
		if name != "" && !slices.Contains(claims, name) {
			claims = append(claims, name)
		}
	}
	for _, v := range spec.list("volumes") {
		add(v.at("persistentVolumeClaim").text("claimName"))
		add(v.at("dataVolume").text("name")) // a DataVolume's claim has its name
		add(v.at("ephemeral", "persistentVolumeClaim").text("claimName"))
		add(v.at("memoryDump").text("claimName"))
	}
	for _, v := range spec.list("utilityVolumes") {
		add(v.text("claimName"))
	}
	for _, v := range status.list("volumeStatus") {
		add(v.at("persistentVolumeClaimInfo").text("claimName"))
	}
	for _, v := range status.list("migratedVolumes") {
		add(v.at("sourcePVCInfo").text("claimName"))
		add(v.at("destinationPVCInfo").text("claimName"))
	}
	return claims
}

// maxMemory bounds a guest's memory that is taken seriously, in GB.
const maxMemory = 1 << 20

// memoryOf returns the size by which virt-launcher (getVMIMigrationDataSize) multiplies
// completionTimeoutPerGiB: the guest's memory, or else what is requested for it, in units of 10⁹ bytes
// despite the name, rounded up.
func memoryOf(domain object) int64 {
	guest := domain.at("memory")["guest"]
	if guest == nil {
		guest = domain.at("resources", "requests")["memory"]
	}
	var q resource.Quantity
	switch v := guest.(type) {
	case string:
		parsed, err := resource.ParseQuantity(v)
		if err != nil {
			return 0
		}
		q = parsed
	case int64:
		q = *resource.NewQuantity(v, resource.BinarySI)
	default:
		return 0
	}
	if q.Sign() <= 0 || q.CmpInt64(maxMemory*1e9) > 0 {
		return 0
	}
	return q.ScaledValue(resource.Giga)
}
