// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package manifests reads what deploy/ ships, applies it to a cluster, and turns a container of it into the
// command line of a process, so that what is tested is what users get.
//
// # Concurrency
//
// A Set may be read by many goroutines. SetBox changes it.
package manifests
