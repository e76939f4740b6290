// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

// What tests look at from outside.
var (
	ConnectFabrics = connectFabrics
	ConnectError   = connectError
)
