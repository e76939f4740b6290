// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package kubevirt is what a storage driver sees of KubeVirt: custom resources of its group and version, and
// a script that creates launcher pods and moves the objects in the order in which KubeVirt does.
//
// There is no virtual machine. The launcher pod that has the VM writes to its disk, and the script hands
// that over from the source to the target.
//
// # Concurrency
//
// A Script keeps nothing but its Config; its methods may be called from many goroutines.
package kubevirt
