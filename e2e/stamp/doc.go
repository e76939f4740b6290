// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package stamp says what tests write to a disk, so that whoever reads it later can tell a write that was lost,
// torn or made by somebody else.
//
// A write has a number and consists of parts of 4 KiB, each with the writer's name, the number, its place and a
// checksum. A writer writes the numbers from 1 on round and round in a [Ring], one after the other. All of this
// is pure; packages node and guest/agent do the writing.
package stamp
