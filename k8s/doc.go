// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package k8s is the driver's view of its cluster: its identity, its nodes, the claims that its
// volumes belong to, and the events that people read on them. It knows nothing of boxes and of CSI.
//
// What decides over data is read live, and fails closed: Nodes asks the API server at each call, and an
// answer that does not come is actors.ErrUnavailable or a node that counts as lost, never one that is
// well. What is for people only, Claims and Events, may be served from caches, and may be lost.
//
// # Permissions
//
//	""              namespaces (kube-system)  get                the cluster's identity
//	""              nodes                     get                Nodes
//	storage.k8s.io  volumeattachments         get                Nodes
//	""              persistentvolumes         get, list, watch   Claims; get alone without Claims.Run
//	""              events                    create, patch      Events
//	coordination    leases (in one namespace) get, create, update Lease
//
// # Concurrency
//
// All methods may be called from many goroutines, except each Run, which is called once. Events.Announce
// and Events.Report do not block. Goroutines run inside of Run only, and have ended when it returns.
//
// # Cancellation
//
// Lease.Run outlasts its context until what it leads has drained, and only then gives the lease back.
// Each request to the API server is bounded by a timeout besides the caller's context. Claims.Run ends
// with its context; Events.Run then has a few seconds left to post what was announced before.
package k8s
