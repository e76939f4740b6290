// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package driver runs the controller's pod as deploy/ ships it: rds-csi controller and the sidecars, each a
// process with the arguments of its container and the rights of the pod's service account. A process that
// ends is started again, as a kubelet does.
//
// # Concurrency
//
// A goroutine for each container watches its process. A Driver's methods may be called from one goroutine
// at a time.
//
// # Cancellation
//
// A context bounds a wait for the driver to be ready; Stop ends the processes.
package driver
