// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"strings"
	"testing"
	"time"
)

func TestAudit(t *testing.T) {
	begun := TokenAt(testStart)
	tests := []struct {
		name   string
		volume Volume
		change func(*Volume)
		want   string // empty: nothing is found
		wrong  bool
	}{
		{"detached", created(FencingEpoch), nil, "", false},
		{"attached", grantedVolume(testVolume, "node-a"), nil, "", false},
		{"never exported at rest", created(FencingEpoch), func(v *Volume) { v.Export = true }, "exported without a grant", true},
		{"always exported", created(FencingNone), func(v *Volume) { v.Export = true }, "", false},
		{"turned off", grantedVolume(testVolume, "node-a"), func(v *Volume) { v.Export = false }, "granted, but not exported", true},
		{"another NQN", grantedVolume(testVolume, "node-a"), func(v *Volume) { v.NQN += "x" }, "not that of its ledger", true},
		{"no NQN of its own", grantedVolume(testVolume, "node-a"), func(v *Volume) { v.NQN = "nqn.2000-02.com.mikrotik:x" }, "does not name it", true},
		{"another host", grantedVolume(testVolume, "node-a"), func(v *Volume) { v.AllowHost = "nqn.x" }, "allowed host", true},
		{"two nodes", grantedVolume(testVolume, "node-a", "node-b"), nil, "migration since", false},
		{
			"two nodes for too long", grantedVolume(testVolume, "node-a", "node-b"),
			func(v *Volume) { v.Ledger.Told = entry(MigrationTimedOut, v.Ledger.Grants[1].At) }, "longer than 300 s", true,
		},
		{"outcome pending", grantedVolume(testVolume, "node-a"), func(v *Volume) {
			v.Ledger.Access, v.Ledger.Left, v.Ledger.Told = AccessShared, "node-b", entry(0, begun)
		}, "outcome pending", false},
		{"bounce cut short", grantedVolume(testVolume, "node-a"), func(v *Volume) { v.Ledger.Off, v.Ledger.Bounce = true, begun }, "bounce owed since 2030-01-02T03:04:05Z", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := tt.volume
			if tt.change != nil {
				tt.change(&v)
			}
			found := v.Audit(testCluster)
			if tt.want == "" {
				if len(found) > 0 {
					t.Fatalf("found %+v", found)
				}
				return
			}
			if len(found) != 1 || !strings.Contains(found[0].Text, tt.want) || found[0].Wrong != tt.wrong {
				t.Fatalf("found %+v, want %q, wrong %v", found, tt.want, tt.wrong)
			}
		})
	}
}

func TestRole(t *testing.T) {
	l := Ledger{Access: AccessShared, Grants: []Grant{{"node-a", TokenAt(testStart)}, {"node-b", TokenAt(testStart.Add(time.Hour))}}}
	if l.Role("node-a") != "source" || l.Role("node-b") != "target" || l.Role("node-c") != "" {
		t.Errorf("%s, %s, %s", l.Role("node-a"), l.Role("node-b"), l.Role("node-c"))
	}
	l.Grants = l.Grants[:1]
	if l.Role("node-a") != "" {
		t.Error("alone, and in a migration")
	}
}
