// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import "testing"

func TestSupersedes(t *testing.T) {
	const id = VolumeID("pvc-aaaaaaaa-0000-4000-8000-000000000001")
	name := func(epoch string) string { return "nqn.2000-02.com.mikrotik:" + string(id) + epoch }
	for _, c := range []struct {
		nqn, earlier string
		want         bool
	}{
		{name(".m0abc124"), name(".m0abc123"), true},
		{name(".10abc1234"), name(".m0abc123"), true}, // a number with one digit more
		{name(".m0abc123"), name(".m0abc123"), false},
		{name(".m0abc122"), name(".m0abc123"), false},
		{name(""), name(".m0abc123"), false},
		{name(".m0abc124"), name(""), false}, // an NQN without an epoch may be used again
		{name(".m0abc124x!"), name(".m0abc123"), false},
		{"nqn.2000-02.com.example:" + string(id) + ".m0abc124", name(".m0abc123"), false},
		{name("0.m0abc124"), name(".m0abc123"), false}, // of another volume
		{name(".m0abc124"), name("0.m0abc123"), false},
	} {
		if got := Supersedes(c.nqn, c.earlier, id); got != c.want {
			t.Errorf("%s after %s: %t", c.nqn, c.earlier, got)
		}
	}
}
