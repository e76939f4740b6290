// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package flawed

import (
	"os"
	"testing"
)

func TestLarger(t *testing.T) {
	t.Run("first", func(t *testing.T) {
		if got := Larger(2, 1); got != 2 {
			t.Errorf("Larger(2, 1) = %d", got)
		}
	})
}

func TestSmaller(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	if got := Smaller(2, 1); got != 1 {
		t.Errorf("Smaller(2, 1) = %d", got)
	}
}

// TestOnce fails the first time, if it is told of a file that is not there.
func TestOnce(t *testing.T) {
	file := os.Getenv("FLAWED_ONCE")
	if _, err := os.Stat(file); file == "" || err == nil {
		return
	}
	t.Error("the first time")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Error(err)
	}
}
