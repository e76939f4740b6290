// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package api is what can be asked of the agent in a guest: the names of the operations, what they take and what
// they answer.
package api
