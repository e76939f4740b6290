// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ParseSize reads a size as /disk takes it for file-size: bytes, or a count of K, M, G or T, which
// are powers of 1024, with or without "iB" behind.
func ParseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "KMGTkmgtiB")
	shift := 0
	switch unit := s[len(digits):]; strings.ToUpper(strings.TrimSuffix(unit, "iB")) {
	case "":
		if unit != "" {
			return 0, fmt.Errorf("size %.32q has no unit before iB", s)
		}
	case "K":
		shift = 10
	case "M":
		shift = 20
	case "G":
		shift = 30
	case "T":
		shift = 40
	default:
		return 0, fmt.Errorf("size %.32q has a unit that is not K, M, G or T", s)
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("size %.32q is not a number of bytes", s)
	}
	return int64(n) << shift, nil
}

// parseBool reads a truth value as the console and the API write it.
func parseBool(s string) (value, ok bool) {
	switch s {
	case "yes", "true":
		return true, true
	case "no", "false":
		return false, true
	}
	return false, false
}
