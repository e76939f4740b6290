// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package controlplane runs a real Kubernetes control plane on a loopback address of its own: etcd, the
// API server, the controller manager and the scheduler, each a process.
//
// There are no nodes and no kubelets; whoever wants some makes them. Rights are checked as in any cluster
// (Node and RBAC), so that a program which runs under its service account meets what its roles lack. The
// controller that watches heartbeats is off: a test says itself when a node is dead.
//
// # Concurrency
//
// A ControlPlane's methods may be called from many goroutines, Start and Stop apart.
//
// # Cancellation
//
// A context bounds a wait for something to be ready. Processes live until they are stopped, and never
// longer than the one that started them.
package controlplane
