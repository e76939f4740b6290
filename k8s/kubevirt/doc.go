// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package kubevirt is KubeVirt as the driver sees it: is a second node that asks for a shared volume the
// target of a live migration, how does that migration stand, and how did it end. It reads KubeVirt's
// objects field by field and needs none of its modules. KubeVirt may come and go while the driver runs.
//
// # What the words are
//
// A VirtualMachineInstance (here: instance) is a VM that runs; a VM that restarts is another instance of
// the same name. A VirtualMachineInstanceMigration (here: job) is one attempt to migrate it. Its target's
// pod exists, and its volumes are attached, before the instance says anything of the migration:
//
//  1. the job appears; the target's virt-launcher pod carries its UID, and so does the pod that stands in
//     for hotplugged disks, which the launcher owns
//  2. hand-off: status.migrationState of the instance names the job, both nodes and the configuration
//  3. startTimestamp, as the guest's memory begins to move
//  4. targetNodeDomainReadyTimestamp, then status.nodeName is the target and endTimestamp is set
//  5. completed, or failed; the job's phase follows, and it keeps a copy of the final state, since the next
//     migration overwrites that of the instance
//
// # What is admitted
//
// Admit asks, under the policy kubevirt, and under auto where there is KubeVirt, that every pod that uses
// the volume on either node be of one and the same instance, that those on the second node be the target
// of a job of that instance which is under way, and that the instance run on the first. The rest follows:
//
//   - An importer's pod (CDI) and then a launcher, on another node: the second waits until the first node
//     is detached. So does a VM that restarts elsewhere while its old launcher still terminates, since
//     that is another instance and no job's target.
//   - Two VMs on one claim, KubeVirt's shareable disks among them: refused.
//   - A pod that finished counts no longer; one that terminates does, for it may still write.
//   - A hotplugged disk may have no pod left on the first node, when a drain evicted it: the instance
//     runs there all the same, and that is what counts.
//   - A migration between clusters or namespaces (a job that sends or receives) copies the disks between
//     claims of its two instances, so that neither claim needs a second node: the receiving end is
//     refused one.
//   - A migration that was cancelled is refused: its target goes.
//
// # Whom it believes
//
// Pods come from a cache, and are listed live before anything is refused. Jobs and instances are always
// read live. Whatever cannot be told is actors.ErrUnavailable: no discovery, a group that is there but
// not the two resources, an API server that does not answer in time. KubeVirt is absent only where the
// API server says so twice, with a list of groups that is otherwise whole.
//
// # Permissions
//
// They are those of the role rds-csi-kubevirt in deploy/manifests/rbac.yaml; a test compares the two with
// what is asked for.
//
//	""           pods                              list, watch
//	kubevirt.io  virtualmachineinstances           get, list, watch
//	kubevirt.io  virtualmachineinstancemigrations  get, list, watch
//
// Discovery needs what Kubernetes grants to everybody who is authenticated.
//
// # Concurrency
//
// All methods may be called from many goroutines, except Run, which is called once. Goroutines run inside
// of Run only, and have ended when it returns. Config.Observe is called by one of them at a time.
//
// # Cancellation
//
// Admit and Migration are bounded by Config.Timeout besides the caller's context. Run ends with its own.
package kubevirt
