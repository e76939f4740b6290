// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"fmt"
	"time"
)

// Bounds of a storm. They keep a slip of the hand from filling the machine.
const (
	MaxVolumes = 4000
	MaxNodes   = 1000
	MaxWorkers = 1000
)

// A Config describes a storm. Volumes, Nodes and Workers must be given.
type Config struct {
	Volumes int // from 1 to MaxVolumes
	Nodes   int // from 2 to MaxNodes: a migration needs two
	Workers int // from 1 to MaxWorkers: calls under way at a time

	// Round tells the volumes of one storm from those of another on the same box.
	Round int
	// Parameters are the StorageClass's.
	Parameters map[string]string
	// Size of a volume in bytes, a multiple of 512. Zero: 64 MiB.
	Size int64
	// CallTimeout bounds each call. Zero: 60 s.
	CallTimeout time.Duration
	// Commands tells how many commands the box has been sent so far, by kind. Nil: they are not
	// counted.
	Commands func(context.Context) (map[string]float64, error)
}

func (c Config) withDefaults() (Config, error) {
	for _, n := range []struct {
		what          string
		is, low, high int
	}{
		{"volumes", c.Volumes, 1, MaxVolumes},
		{"nodes", c.Nodes, 2, MaxNodes},
		{"workers", c.Workers, 1, MaxWorkers},
	} {
		if n.is < n.low || n.is > n.high {
			return c, fmt.Errorf("a storm of %d %s: it has from %d to %d", n.is, n.what, n.low, n.high)
		}
	}
	if c.Size < 0 || c.Size%512 != 0 || c.CallTimeout < 0 {
		return c, fmt.Errorf("volumes of %d bytes, calls of at most %v: a size is a multiple of 512, and none is negative", c.Size, c.CallTimeout)
	}
	if c.Size == 0 {
		c.Size = 64 << 20
	}
	if c.CallTimeout == 0 {
		c.CallTimeout = time.Minute
	}
	return c, nil
}

// NodeNames returns the names of the n nodes to which a storm attaches volumes.
func NodeNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("node-%03d", i)
	}
	return names
}
