// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"errors"
	"testing"
)

func TestStaticNodesFollowTheList(t *testing.T) {
	const id = VolumeID("pvc-3b3a5c0e-6f0c-4b62-9f5e-0d0c1a7d9a11")
	nodes, err := NewStaticNodes("a", "b.example")
	if err != nil {
		t.Fatal(err)
	}
	check := func(node NodeID, wantErr error, wantLost string) {
		t.Helper()
		if _, err := nodes.Check(t.Context(), id, node); !errors.Is(err, wantErr) {
			t.Errorf("Check(%s) = %v, want %v", node, err, wantErr)
		}
		if lost := nodes.Lost(t.Context(), id, node); lost != wantLost {
			t.Errorf("Lost(%s) = %q, want %q", node, lost, wantLost)
		}
	}
	check("a", nil, "")
	check("b.example", nil, "")
	check("c", ErrNotFound, "node is not in the list")

	nodes.Remove("a")
	check("a", ErrNotFound, "node is not in the list")
	check("b.example", nil, "")

	if err := nodes.Add("a"); err != nil {
		t.Fatal(err)
	}
	check("a", nil, "")
	if err := nodes.Add("not a node"); !errors.Is(err, ErrInvalid) {
		t.Errorf("Add of a malformed node = %v, want ErrInvalid", err)
	}
}

func TestStaticNodesRefuseABadList(t *testing.T) {
	for name, list := range map[string][]NodeID{
		"twice":     {"a", "b", "a"},
		"malformed": {"a", "UPPER"},
		"empty":     {"a", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewStaticNodes(list...); !errors.Is(err, ErrInvalid) {
				t.Errorf("NewStaticNodes(%q) = %v, want ErrInvalid", list, err)
			}
		})
	}
}
