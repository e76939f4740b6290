// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package flawed is what the tests of the tool switch faults on in.
package flawed

// Larger returns the larger of two numbers.
func Larger(a, b int) int {
	if a > b {
		return a
	}
	return b
}

// Smaller returns the smaller of two numbers, which only a long test tries.
func Smaller(a, b int) int {
	if a < b {
		return a
	}
	return b
}
