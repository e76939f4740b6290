// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

// exports serve the disks that hosts should find.
type exports struct{}

func newExports(Config, *store, *journal) *exports { return &exports{} }

func (e *exports) change(old, next disk) error { return nil }

func (e *exports) close() error { return nil }
