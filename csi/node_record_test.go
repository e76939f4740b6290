// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"os"
	"strings"
	"testing"

	"github.com/rds-csi/rds-csi/actors"
)

// A record is enough to connect a volume again as it was connected before, and a driver that knew nothing of
// that can read it.
func TestRecordKeepsTheTarget(t *testing.T) {
	host := actors.HostOf("0123456789ab", "worker-1")
	publish := map[string]string{
		publishNQN: judgedNQN, publishAddress: "192.0.2.1", publishPort: "4421", publishSize: "1073741824",
		publishHostNQN: host.NQN, publishHostID: host.ID,
	}
	volume := map[string]string{keyCtrlLossTmo: "-1", keyReconnectDelay: "2", keyKeepAliveTmo: "7"}
	want, err := parseTarget(judgedVolume, host, publish, volume)
	if err != nil {
		t.Fatal(err)
	}
	want.ReadOnly = true
	rs, err := openRecords(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	saved := &record{Volume: judgedVolume, NQN: want.NQN, Size: want.Size, Staging: "/staging", Access: access{ReadOnly: true}, Target: reachOf(judgedVolume, want, volume)}
	if err := rs.save(saved); err != nil {
		t.Fatal(err)
	}
	loaded, err := rs.load(judgedVolume)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := loaded.target(); !ok || got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if loaded.Version != 1 {
		t.Errorf("version %d: a driver of before would refuse it", loaded.Version)
	}
	// A record of before has no target.
	old := strings.NewReplacer(`"target"`, `"other"`).Replace
	data, err := os.ReadFile(rs.path(judgedVolume))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(rs.path(judgedVolume), []byte(old(string(data))), 0o600); err != nil {
		t.Fatal(err)
	}
	if loaded, err = rs.load(judgedVolume); err != nil {
		t.Fatal(err)
	}
	if got, ok := loaded.target(); ok {
		t.Errorf("target %+v out of nothing", got)
	}
}

// An NQN that outlives its attachment proves nothing to who connects to it.
func TestUnfenced(t *testing.T) {
	for _, c := range []struct {
		nqn, fencing string
		want         bool
	}{
		{judgedNQN, "", false},
		{judgedNQN, "epoch", false},
		{judgedNQN, "host", false},
		{judgedNQN, "none", true},
		{actors.DefaultNQNPrefix + ":" + string(judgedVolume), "", true},
		{actors.DefaultNQNPrefix + ":" + string(judgedVolume), "host", true},
	} {
		target, err := parseTarget(judgedVolume, actors.HostOf("0123456789ab", "n"), map[string]string{publishNQN: c.nqn, publishAddress: "192.0.2.1", publishPort: "4420"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := reachOf(judgedVolume, target, map[string]string{keyFencing: c.fencing}).Unfenced; got != c.want {
			t.Errorf("%s, fencing %q: unfenced=%t, want %t", c.nqn, c.fencing, got, c.want)
		}
	}
}
