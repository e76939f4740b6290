// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package sim

import (
	"errors"
	"os"
)

// punch makes part of a file a hole, which this system cannot.
func punch(*os.File, int64, int64) error { return errors.ErrUnsupported }
