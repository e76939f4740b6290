// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"fmt"
	"math"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
)

const (
	sectorSize  = 512 // a volume's size is a multiple of it
	defaultSize = 1 << 30
	// minXFS is the smallest filesystem that mkfs.xfs makes.
	minXFS = 300 << 20
)

// A sizeRange is a checked CapacityRange, in bytes.
type sizeRange struct {
	required int64 // 0: not said
	limit    int64 // 0: none
}

func parseRange(r *csipb.CapacityRange) (sizeRange, error) {
	s := sizeRange{required: r.GetRequiredBytes(), limit: r.GetLimitBytes()}
	switch {
	case s.required < 0:
		return s, fmt.Errorf("capacity_range.required_bytes is %d: sizes are not negative: %w", s.required, actors.ErrInvalid)
	case s.limit < 0:
		return s, fmt.Errorf("capacity_range.limit_bytes is %d: sizes are not negative: %w", s.limit, actors.ErrInvalid)
	case s.limit > 0 && s.limit < s.required:
		return s, fmt.Errorf("capacity_range.limit_bytes %d is less than required_bytes %d: %w", s.limit, s.required, actors.ErrInvalid)
	}
	return s, nil
}

// size returns the size to make: what is required, rounded up to a whole sector, else 1 GiB or what
// the limit leaves of it. ErrOutOfRange where the limit leaves no whole sector.
func (s sizeRange) size() (int64, error) {
	size := s.required
	if size == 0 {
		size = defaultSize
		if s.limit > 0 {
			size = min(size, s.limit/sectorSize*sectorSize)
		}
	}
	if size > math.MaxInt64-sectorSize {
		return 0, fmt.Errorf("size of %d bytes is larger than any pool: %w", size, actors.ErrOutOfRange)
	}
	size = (size + sectorSize - 1) / sectorSize * sectorSize
	if size == 0 || (s.limit > 0 && size > s.limit) {
		return 0, fmt.Errorf("no multiple of %d bytes lies between %d and %d: %w", sectorSize, s.required, s.limit, actors.ErrOutOfRange)
	}
	return size, nil
}

// holds reports whether an existing size lies in the range.
func (s sizeRange) holds(size int64) bool {
	return size >= s.required && (s.limit == 0 || size <= s.limit)
}
