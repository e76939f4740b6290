// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package report turns what storms measured into figures, a table and a plot. It is pure: the same
// measurements make the same report.
package report
