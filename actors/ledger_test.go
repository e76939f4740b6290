// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"errors"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

var fullLedger = Ledger{
	Cluster: testCluster, Gen: 1<<31 - 1, Fencing: FencingHost, Timeout: MaxTimeout, Port: 65535,
	Epoch: 4102444800000, Access: AccessShared,
	Grants: []Grant{{NodeID(strings.Repeat("a", MaxNodeID)), 4102444800000}, {NodeID(strings.Repeat("b", MaxNodeID)), 4102444800001}},
	Told:   "success." + Token(4102444800001).String(), Bounce: 4102444800002, Off: true,
}

// prefixed is the longest ledger with the prefix of a StorageClass: of an export that is bounced for the
// one node that stays.
func prefixed(prefix string) Ledger {
	l := fullLedger.without(fullLedger.Grants[0].Node)
	l.Prefix = prefix
	return l
}

// undecided is the longest ledger of a migration whose outcome is pending.
func undecided() Ledger {
	l := fullLedger.without(fullLedger.Grants[0].Node)
	l.Told, l.Left, l.Prefix = entry(0, l.Grants[0].At), fullLedger.Grants[0].Node, prefixShown
	return l
}

var longestPrefix = "nqn.2024-01." + strings.Repeat("c", MaxNQNPrefix-len("nqn.2024-01."))

func TestTheLongestLedgerFitsAComment(t *testing.T) {
	shown := fullLedger
	shown.Prefix = prefixShown
	for _, l := range []Ledger{fullLedger, shown, undecided(), prefixed(longestPrefix)} {
		if n := len(l.String()); n > MaxLedger {
			t.Errorf("%d bytes, at most %d fit: %s", n, MaxLedger, l)
		}
	}
}

func TestLedgerAlphabet(t *testing.T) {
	for _, l := range []Ledger{fullLedger, prefixed(longestPrefix)} {
		if s := l.String(); !regexp.MustCompile(`^[A-Za-z0-9._:/-]+$`).MatchString(s) {
			t.Errorf("%s holds what a RouterOS console interprets", s)
		}
	}
}

func TestLedgerRoundTrip(t *testing.T) {
	for _, l := range []Ledger{
		{Cluster: testCluster, Gen: 1, Fencing: FencingEpoch, Timeout: 300},
		{Cluster: testCluster, Gen: 7, Fencing: FencingNone, Timeout: 30, Access: AccessReader, Grants: []Grant{{"a", 1}, {"b.example", 2}, {"c", 2}}},
		{Cluster: testCluster, Gen: 1, Fencing: FencingEpoch, Timeout: 300, Port: 1},
		fullLedger,
		undecided(),
		// A prefix may hold what separates fields and their parts.
		prefixed(prefixShown),
		prefixed("nqn.2024-01.io.example"),
		prefixed("nqn.2024-01.io.example:rds/box-1/n:node-c:lq3x0abc"),
		prefixed("nqn.2024-01.io.example/q:nqn.2024-01.io.example/"),
		prefixed("nqn.2024-01.io.example:" + string(testVolume)),
		prefixed("nqn.2024-01." + strings.Repeat("c", maxPrefix-len("nqn.2024-01."))),
	} {
		got, ours, err := ParseLedger(l.String())
		if err != nil || !ours || !reflect.DeepEqual(got, l) {
			t.Errorf("%s came back as %+v (ours %v, %v)", l, got, ours, err)
		}
	}
}

// A row that hides its NQN while the export is off is read by its ledger.
func TestTheNQNOfALedger(t *testing.T) {
	for want, l := range map[string]Ledger{
		"": {Prefix: prefixShown, Epoch: 36},
		DefaultNQNPrefix + ":" + string(testVolume):             {},
		DefaultNQNPrefix + ":" + string(testVolume) + ".10":     {Epoch: 36},
		"nqn.2024-01.io.example:x:" + string(testVolume):        {Prefix: "nqn.2024-01.io.example:x"},
		"nqn.2024-01.io.example:" + string(testVolume) + ".rts": {Prefix: "nqn.2024-01.io.example", Epoch: 36064},
	} {
		if got := l.NQN(testVolume); got != want {
			t.Errorf("%+v tells %s, want %s", l, got, want)
		}
	}
}

// Ledgers leave it out: another value would give the volumes that have it another NQN.
func TestTheDefaultPrefixNeverChanges(t *testing.T) {
	if DefaultNQNPrefix != "nqn.2000-02.com.mikrotik" {
		t.Fatal(DefaultNQNPrefix)
	}
}

func TestACommentThatIsNoLedger(t *testing.T) {
	for _, s := range []string{"", "backup of the wiki", "rds", "pvc-0b5e1d4e"} {
		if _, ours, err := ParseLedger(s); ours || err != nil {
			t.Errorf("%q: ours %v, %v", s, ours, err)
		}
	}
}

// A damaged ledger must not be taken for an empty one: its volume may be attached.
func TestADamagedLedgerIsRefused(t *testing.T) {
	good := "rds-csi.1/c:0123456789ab/g:5/f:e/t:300/p:3es/e:lq3x0abc/m:m/n:node-a:lq3x0abc/n:node-b:lq3x0abd"
	if _, _, err := ParseLedger(good); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]string{
		"later version":      strings.Replace(good, "rds-csi.1", "rds-csi.2", 1),
		"truncated":          good[:len(good)-1-len("lq3x0abd")],
		"no cluster":         strings.Replace(good, "/c:0123456789ab", "", 1),
		"no gen":             strings.Replace(good, "/g:5", "", 1),
		"gen zero":           strings.Replace(good, "/g:5", "/g:0", 1),
		"unknown key":        good + "/x:1",
		"field twice":        good + "/g:6",
		"other order":        "rds-csi.1/g:5/c:0123456789ab/f:e/t:300",
		"unknown mode":       strings.Replace(good, "/m:m", "/m:q", 1),
		"unknown fencing":    strings.Replace(good, "/f:e", "/f:z", 1),
		"timeout too long":   strings.Replace(good, "/t:300", "/t:3601", 1),
		"one writer, two":    strings.Replace(good, "/m:m", "/m:w", 1),
		"third node":         good + "/n:node-c:lq3x0abe",
		"node twice":         strings.Replace(good, "node-b", "node-a", 1),
		"node in upper case": strings.Replace(good, "node-b", "Node-b", 1),
		"grants, no mode":    strings.Replace(good, "/m:m", "", 1),
		"mode, no grants":    "rds-csi.1/c:0123456789ab/g:5/f:e/t:300/m:m",
		"unknown outcome":    good + "/o:maybe.1",
		"pending, nobody":    good + "/o:pending.lq3x0abd",
		"pending, no mode":   "rds-csi.1/c:0123456789ab/g:5/f:e/t:300/o:pending.lq3x0abd/d:node-a",
		"pending, two left":  good + "/o:pending.lq3x0abd/d:node-c",
		"pending, no token":  strings.Replace(good, "/n:node-b:lq3x0abd", "/o:pending.0/d:node-b", 1),
		"pending, granted":   strings.Replace(good, "/n:node-b:lq3x0abd", "/o:pending.lq3x0abd/d:node-a", 1),
		"decided, detached":  strings.Replace(good, "/n:node-b:lq3x0abd", "/o:failed.lq3x0abd/d:node-b", 1),
		"detached, no name":  strings.Replace(good, "/n:node-b:lq3x0abd", "/o:pending.lq3x0abd/d:", 1),
		"negative token":     strings.Replace(good, "lq3x0abd", "-q3x0abd", 1),
		"trailing space":     good + " ",
		"no port":            strings.Replace(good, "/p:3es", "/p:", 1),
		"port zero":          strings.Replace(good, "/p:3es", "/p:0", 1),
		"port too high":      strings.Replace(good, "/p:3es", "/p:1ekg", 1),
		"port in upper case": strings.Replace(good, "/p:3es", "/p:3ES", 1),
		"port with a zero":   strings.Replace(good, "/p:3es", "/p:03es", 1),
		"port with a sign":   strings.Replace(good, "/p:3es", "/p:+3es", 1),
		"port twice":         strings.Replace(good, "/p:3es", "/p:3es/p:3es", 1),
		"port too late":      strings.Replace(good, "/p:3es", "", 1) + "/p:3es",
		"no prefix":          good + "/q:",
		"no prefix's value":  good + "/q",
		"default prefix":     good + "/q:" + DefaultNQNPrefix,
		"prefix, no NQN's":   good + "/q:iqn.2024-01.io.example",
		"prefix, a space":    good + "/q:nqn.2024-01.io example",
		"prefix, a newline":  good + "/q:nqn.2024-01.io.example\n",
		"prefix, then more":  strings.Replace(good, "/p:3es", "/q:nqn.2024-01.io.example/", 1) + " ",
		"prefix too long":    good + "/q:nqn." + strings.Repeat("c", maxPrefix-3),
	} {
		if l, ours, err := ParseLedger(s); !ours || !errors.Is(err, ErrPrecondition) || kinds(err) != 1 {
			t.Errorf("%s: %q was read as %+v (ours %v, %v)", name, s, l, ours, err)
		}
	}
}

func FuzzParseLedger(f *testing.F) {
	f.Add(fullLedger.String())
	f.Add(prefixed("nqn.2024-01.io.example:rds/box-1").String())
	f.Add("rds-csi.1/c:0123456789ab/g:5/f:e/t:300/e:lq3x0abc/m:m/n:node-a:lq3x0abc")
	f.Fuzz(func(t *testing.T, s string) {
		l, ours, err := ParseLedger(s)
		if !ours || err != nil {
			return
		}
		if l.String() != s {
			t.Fatalf("%q was accepted and reads %q when written", s, l)
		}
	})
}

func TestIDs(t *testing.T) {
	for id, ok := range map[VolumeID]bool{
		testVolume: true,
		"":         false,
		"pvc-":     false,
		"pvc-0B5E1D4E-3B1C-4F0E-9A57-2F0D6F6D0A11": false,
		testVolume + "/":                              false,
		"../" + testVolume:                            false,
		"pvc-0b5e1d4e3b1c4f0e9a572f0d6f6d0a11":        false,
		"pvc-0b5e1d4e-3b1c-4f0e-9a57-2f0d6f6d0a11\n":  false,
		"disk-0b5e1d4e-3b1c-4f0e-9a57-2f0d6f6d0a11":   false,
		"pvc-0b5e1d4e-3b1c-4f0e-9a57-2f0d6f6d0a11.im": false,
	} {
		if err := id.Check(); (err == nil) != ok || (err != nil && !errors.Is(err, ErrInvalid)) {
			t.Errorf("volume ID %q: %v", id, err)
		}
	}
	for id, ok := range map[NodeID]bool{
		"node-a": true, "n": true, "worker.example.org": true, NodeID(strings.Repeat("n", 63)): true,
		"": false, "Node": false, "-n": false, "n-": false, "a..b": false, "a/b": false, "a:b": false, "a b": false, "a\n": false,
		NodeID(strings.Repeat("n", 64)): false,
	} {
		if err := id.Check(); (err == nil) != ok || (err != nil && !errors.Is(err, ErrInvalid)) {
			t.Errorf("node ID %q: %v", id, err)
		}
	}
}

// These stand in allow lists and in connected kernels: another value for the same node would lock
// it out.
func TestHostIdentityNeverChanges(t *testing.T) {
	want := Host{
		NQN: "nqn.2014-08.org.nvmexpress:uuid:08be7200-a139-5081-bfb1-bb37222d1734",
		ID:  "08be7200-a139-5081-bfb1-bb37222d1734",
	}
	if got := HostOf(testCluster, "node-a"); got != want {
		t.Fatalf("%+v, want %+v", got, want)
	}
	if HostOf(testCluster, "node-a") == HostOf(testCluster, "node-b") || HostOf(testCluster, "node-a") == HostOf("ba9876543210", "node-a") {
		t.Fatal("two nodes share an identity")
	}
}

func TestNQNPrefix(t *testing.T) {
	for nqn, ok := range map[string]bool{
		NQN(testPrefix, testVolume, 0):       true,
		NQN(testPrefix, testVolume, 36):      true,
		NQN(testPrefix, testVolume, 0) + "x": false,
		testPrefix + ":pvc-other":            false,
		"":                                   false,
		testPrefix + "." + string(testVolume) + ".abc": false,
	} {
		prefix, got := NQNPrefix(nqn, testVolume)
		if got != ok || (ok && prefix != testPrefix) {
			t.Errorf("%q: %q, %v", nqn, prefix, got)
		}
	}
}

func TestAClockBefore1970DamagesNothing(t *testing.T) {
	for _, now := range []time.Time{{}, time.Unix(0, 0), time.Unix(-1, 0)} {
		st := newStage(t, FencingHost)
		st.now = now
		st.publish("node-a", AccessShared)
		st.finish()
		st.publish("node-b", AccessShared)
		st.finish()
		st.unpublish("node-a", "gone")
		w, _ := writeOf(st.pending)
		for _, row := range append(w.Rows, rowOf(st.row)) {
			got, _, err := ParseLedger(row.Ledger.String())
			if err != nil || got.Off != row.Ledger.Off {
				t.Fatalf("at %v: %v", now, err)
			}
		}
	}
}
