// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

//go:build race

package actors

// raceDetector makes everything several times slower, and there is one goroutine in an exploration: the
// large numbers are left to a run without it.
const raceDetector = true
