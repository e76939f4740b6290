// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The list follows the code: whoever changes a line that a fault replaces changes the fault.
func TestEachFaultHasItsPlace(t *testing.T) {
	names := map[string]bool{}
	for _, m := range mutants {
		src, err := os.ReadFile(filepath.Join("..", "..", "actors", m.file))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(src, []byte(m.right)); n != 1 {
			t.Errorf("fault %q: %s has %d times %q", m.name, m.file, n, m.right)
		}
		if names[m.name] {
			t.Errorf("two faults are named %q", m.name)
		}
		names[m.name] = true
	}
}
