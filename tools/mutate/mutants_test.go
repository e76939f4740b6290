// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestEachFaultHasItsPlace: the list follows the code: whoever changes a line that a fault replaces changes the
// fault.
func TestEachFaultHasItsPlace(t *testing.T) {
	names := map[string]bool{}
	for _, m := range mutants() {
		if names[m.name] {
			t.Errorf("two faults are named %q", m.name)
		}
		names[m.name] = true
		for _, f := range m.faults {
			src, err := os.ReadFile(filepath.Join("..", "..", m.path(f)))
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(src, []byte(f.right)); n != 1 {
				t.Errorf("fault %q: %s has %d times %q", m.name, m.path(f), n, f.right)
			}
		}
	}
}
