// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"strings"
	"testing"

	"github.com/rds-csi/rds-csi/actors"
)

// Every byte is tried on its own and between others: what the console interprets must not pass.
func TestCheckWord(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/-"
	for b := range 256 {
		for _, word := range []string{string([]byte{byte(b)}), string([]byte{'a', byte(b), 'z'})} {
			pass := CheckWord(word) == nil
			if want := strings.IndexByte(alphabet, byte(b)) >= 0; pass != want {
				t.Errorf("CheckWord(%q) passes: %v, want %v", word, pass, want)
			}
		}
	}
	if err := CheckWord(""); err != nil {
		t.Errorf("the empty word: %v", err)
	}
	if CheckWord(strings.Repeat("a", maxWord+1)) == nil {
		t.Error("a word longer than the limit passes")
	}
}

// The longest ledger of two nodes must fit, whole and as a guard.
func TestLedgerIsAWord(t *testing.T) {
	node := actors.NodeID(strings.Repeat("n", actors.MaxNodeID))
	l := actors.Ledger{
		Cluster: "0123456789ab", Gen: 1<<64 - 1, Epoch: 1 << 62, Fencing: actors.FencingHost, Timeout: 3600,
		Access: actors.AccessShared, Grants: []actors.Grant{{Node: node, At: 1 << 62}, {Node: "b", At: 1 << 62}},
		Told: "success.zzz", Bounce: 1 << 62, Off: true,
	}
	if err := CheckWord(l.String()); err != nil {
		t.Errorf("ledger %s: %v", l, err)
	}
}

// No statement lets through what CheckWord refuses, wherever it stands.
func TestNothingUncheckedInAScript(t *testing.T) {
	const bad = `x";/system reset`
	cond := []Condition{{Property: "slot", Value: bad}}
	condName := []Condition{{Property: bad, Value: "x"}}
	good := []Property{{"slot", "a"}}
	for i, st := range []Statement{
		List{Menu: bad, Properties: []string{"slot"}},
		List{Menu: "/disk", Properties: []string{bad}},
		List{Menu: "/disk", Properties: []string{"slot"}, Any: cond},
		List{Menu: "/disk", Properties: []string{"slot"}, Any: condName},
		List{Menu: "/disk", Properties: []string{"slot"}, Any: []Condition{{Property: "slot", Op: BeginsWith, Value: "a"}}},
		List{Menu: "/disk"},
		Add{Menu: bad, Properties: good},
		Add{Menu: "/disk", Properties: []Property{{"slot", bad}}},
		Add{Menu: "/disk", Properties: []Property{{bad, "a"}}},
		Add{Menu: "/disk", Properties: good, Unless: cond},
		Add{Menu: "/disk", Properties: []Property{{"slot", "a"}, {"slot", "b"}}},
		Add{Menu: "/disk"},
		Set{Menu: bad, ID: "*1", Changes: [][]Property{good}},
		Set{Menu: "/disk", ID: "*1 " + bad, Changes: [][]Property{good}},
		Set{Menu: "/disk", ID: "1", Changes: [][]Property{good}},
		Set{Menu: "/disk", ID: "*1", Changes: [][]Property{good, {{"comment", bad}}}},
		Set{Menu: "/disk", ID: "*1", Changes: [][]Property{good}, Guards: cond},
		Set{Menu: "/disk", ID: "*1", Changes: [][]Property{good}, Guards: condName},
		Set{Menu: "/disk", ID: "*1", Changes: [][]Property{good}, Guards: []Condition{{Property: "slot", Op: BeginsWith}}},
		Set{Menu: "/disk", ID: "*1", Changes: [][]Property{good}, Guards: []Condition{{Property: "slot", Op: 99, Value: "a"}}},
		Set{Menu: "/disk", ID: "*1"},
		Remove{Menu: bad, ID: "*1"},
		Remove{Menu: "/disk", ID: bad},
		Remove{Menu: "/disk", ID: "*1", Guards: cond},
		RemoveFile{Name: bad},
		RemoveFile{Name: "/raid10/a.img"},
		RemoveFile{},
	} {
		if body, err := st.body("@0:"); err == nil {
			t.Errorf("statement %d passes: %s", i, body)
		} else if strings.Contains(err.Error(), "system reset") && strings.Contains(err.Error(), "slot: ") {
			t.Errorf("statement %d: the error shows the value: %v", i, err)
		}
	}
}
