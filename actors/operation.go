// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import "context"

// OpKind names an exclusive operation. It is a metric label and a span name.
type OpKind string

// The exclusive operations.
const (
	OpCreate OpKind = "create"
	OpDelete OpKind = "delete"
	OpExpand OpKind = "expand"
)

// An Operation is work on a volume's disk that excludes every other operation on the volume.
type Operation struct {
	Kind OpKind
	// Key tells requests apart: one of the same Kind and Key as one that waits or runs is a retry
	// and joins it. One with another Key waits its turn.
	Key string
	// Run does the work and returns the volume as the box shows it afterwards; Exists is false after
	// a delete. It runs once, whatever becomes of its caller, and returns within the command
	// deadlines. Its error wraps one of this package's kinds and names the operation and the volume.
	Run func(context.Context) (Volume, error)
}
