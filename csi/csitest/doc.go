// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package csitest provides a node without a kernel for tests of the CSI Node service, for csi-sanity
// and for demonstrations: it needs neither root nor Linux.
//
// It is a test double. No connection is made, nothing is formatted and nothing is mounted: it keeps
// books on who did what, behaves towards its caller as Linux does, and fails where Linux fails.
package csitest
