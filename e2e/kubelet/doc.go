// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package kubelet plays a node's kubelet as far as storage is concerned: it registers the node, waits for
// attachments, calls the Node service of the driver, and tells the API server what containers do and which
// volumes are in use. There are no containers; a pod that is to write has a writer on its first volume.
//
// It does in their order what a kubelet does: a volume is in use before it is mounted and until its device is
// unmounted; a pod that is being deleted has its containers ended, its volumes unmounted, and is then removed;
// one that vanished is cleaned up after.
//
// Pods are told what to do by annotations, [Writes] and [Completes].
//
// # Concurrency
//
// One goroutine does all of a kubelet's work, pod after pod. What it knows of the cluster comes from informers
// that kubelets share.
//
// # Cancellation
//
// Run ends with its context and leaves the node as a kubelet that is killed does: volumes stay mounted.
package kubelet
