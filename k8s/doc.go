// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package k8s is the driver's view of its cluster: its identity, its nodes, who should be attached to which
// volume, the claims that volumes belong to, and what people read on them: events and annotations. It
// knows nothing of boxes and of CSI.
//
// What decides over data is read live, and fails closed: Nodes, Attachments.Stale and Attachments.Adopt ask
// the API server at each call, and an answer that does not come is actors.ErrUnavailable or a node that
// counts as lost, never one that is well. Attachments.Wanted is from a cache, and only says what to look at.
// What is for people only, Claims, Events and Annotations, may be served from caches, and may be lost. How a
// migration began and ended is told by the next process where the one before did not live to tell it.
//
// There is one cache of PersistentVolumes, in Claims, and one of VolumeAttachments, in Attachments. Both
// hold what is asked for and no more.
//
// # Permissions
//
// A test compares them with what the package asks for, and with deploy/manifests/rbac.yaml.
//
//	""                   namespaces (kube-system)    get                       the cluster's identity
//	""                   nodes                       get                       Nodes, Attachments
//	storage.k8s.io       volumeattachments           get, list, watch          Nodes, Attachments
//	""                   persistentvolumes           get, list, watch, patch   Claims, Attachments, Annotations
//	""                   events                      get, create, patch        Events
//	coordination.k8s.io  leases                      create                    Lease, in one namespace
//	coordination.k8s.io  leases (rds.csi.srvlab.io)  get, update               Lease, by its name
//
// Package kubevirt, below this one, has its own. A node plugin needs three of these: get of kube-system and of
// PersistentVolumes, and create and patch of events.
//
// # Concurrency
//
// All methods may be called from many goroutines, except each Run, which is called once. The Announce
// methods, Events.Inherit and Events.Report do not block, nor do Attachments.Wanted and
// Attachments.Attached. Goroutines run inside of Run only, and have ended when it returns.
//
// # Cancellation
//
// Lease.Run outlasts its context until what it leads has drained, and only then gives the lease back.
// Each request to the API server is bounded by a timeout besides the caller's context. Claims.Run and
// Attachments.Run end with their context; Events.Run and Annotations.Run then have a few seconds left to
// write what was announced before.
package k8s
