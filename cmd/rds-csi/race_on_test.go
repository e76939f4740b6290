// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

//go:build race

package main

// raceDetector makes a life of the matrix cost five times as much, and most of them go the same ways: the
// large number is left to a run without it.
const raceDetector = true
