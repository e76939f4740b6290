// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package actors

const raceDetector = false
