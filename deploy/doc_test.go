// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package deploy_test checks what an operator applies against what the documentation and the driver
// say: manifests, alert rules and the dashboard.
package deploy_test
