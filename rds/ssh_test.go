// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/sim"
)

func newKey(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// overSSH returns a Box that reaches a simulated one over SSH.
func overSSH(t *testing.T, s *sim.Sim, change func(*Config)) *Box {
	t.Helper()
	return reach(s, wireSSH).box(t, change)
}

// TestSSHGuards shows that each change of a row is made on the box only where the row is as the listing
// showed it, and that an operation which meets with another row lists again.
func TestSSHGuards(t *testing.T) {
	s := simulate(t, sim.Config{})
	b, other, ctx := overSSH(t, s, nil), newBox(t, s.APIAddr(), nil), testContext(t)
	if _, err := b.Create(ctx, numbered(1)); err != nil {
		t.Fatal(err)
	}
	snap, err := b.look(ctx)
	if err != nil {
		t.Fatal(err)
	}
	old, _ := snap.row(volumeID(1))
	w := actors.Write{Volume: volumeID(1), Rows: []actors.Row{{NQN: numbered(1).NQN, Ledger: gen(7)}}}
	if err := other.Write(ctx, w); err != nil {
		t.Fatal(err)
	}
	late := rowValues{nqn: old.nqn, comment: gen(2).String()}
	for name, c := range map[string]change{
		"set":    setRows{old.id, guardOf(old), []rowValues{late}},
		"bounce": setRows{old.id, guardOf(old), []rowValues{late, late}},
		"size":   setSize{old.id, guardOf(old), 2 * gib},
		"export": endExport{old.id, guardOf(old)},
		"remove": removeDisk{old.id, guardOf(old)},
		"moved":  setRows{old.id, guard{"/" + testFile, gen(7).String(), true}, []rowValues{late}},
		"add":    addDisk{slot: "second", file: old.path, size: gib, port: 20001, nqn: testNQN, comment: gen(1).String()},
	} {
		if a := b.change(ctx, command{kind: KindGrant, seen: snap}, c); !isStale(a.err) || fateOf(a.err) != refused {
			t.Errorf("%s: %v, want a refusal since the row has changed", name, a.err)
		}
	}
	if v, err := b.Read(ctx, volumeID(1)); err != nil || v.Ledger.Gen != 7 || v.Size != gib || len(s.Disks()) != 1 {
		t.Errorf("Read = %+v, %v, want what the other wrote", v, err)
	}
	w.Rows[0].Ledger = gen(8)
	if err := b.Write(ctx, w); err != nil {
		t.Errorf("Write = %v", err)
	}
	// A row of the older driver has no ledger: that it still has none is what is compared.
	if err := b.change(ctx, command{kind: KindGrant}, setRows{old.id, guard{file: old.file}, []rowValues{late}}).err; !isStale(err) {
		t.Errorf("a row that got a ledger meanwhile: %v", err)
	}
}

// TestSSHKey logs in with a key alone.
func TestSSHKey(t *testing.T) {
	key := newKey(t)
	s := simulate(t, sim.Config{AuthorizedKeys: ssh.MarshalAuthorizedKey(key.PublicKey())})
	b := overSSH(t, s, func(cfg *Config) { cfg.Password, cfg.SSH.Signer = "", key })
	if _, err := b.List(testContext(t)); err != nil {
		t.Error(err)
	}
	stranger := overSSH(t, s, func(cfg *Config) { cfg.Password, cfg.SSH.Signer = "", newKey(t) })
	_, err := stranger.List(testContext(t))
	if !errors.Is(err, actors.ErrUnavailable) || !strings.Contains(err.Error(), "--rds-ssh-key-file") {
		t.Errorf("List with another key = %v, want ErrUnavailable and the setting", err)
	}
}

// TestSSHHostKey meets with a box that has another key than the known one, until the file is mended.
func TestSSHHostKey(t *testing.T) {
	s := simulate(t, sim.Config{})
	file := filepath.Join(t.TempDir(), "known_hosts")
	know := func(key ssh.PublicKey) {
		t.Helper()
		if err := os.WriteFile(file, []byte(knownhosts.Line([]string{s.SSHAddr()}, key)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	know(newKey(t).PublicKey())
	w := newTold()
	b := overSSH(t, s, func(cfg *Config) {
		cfg.SSH = SSHConfig{KnownHosts: file}
		cfg.Hooks = w.hooks()
	})
	_, err := b.List(testContext(t))
	if !errors.Is(err, actors.ErrUnavailable) || !strings.Contains(err.Error(), "--rds-ssh-known-hosts") {
		t.Errorf("List = %v, want ErrUnavailable and the setting", err)
	}
	oneKind(t, err)
	know(s.HostKey())
	w.until(t, func() bool { return w.states[len(w.states)-1] })
	if _, err := b.List(testContext(t)); err != nil {
		t.Errorf("List when it is mended = %v", err)
	}
}

// TestSSHSettings shows that what cannot be used is said at the start.
func TestSSHSettings(t *testing.T) {
	good := Config{
		Transport: SSH, Address: "rds.example.org:22", Username: "admin", Password: testPassword, Cluster: testCluster,
		VolumePaths: []string{testPath}, SSH: SSHConfig{HostKey: "SHA256:" + strings.Repeat("A", 43)},
	}
	for name, change := range map[string]func(*Config){
		"no host key":     func(c *Config) { c.SSH.HostKey = "" },
		"two":             func(c *Config) { c.SSH.KnownHosts = "/dev/null" },
		"no key":          func(c *Config) { c.SSH.HostKey = "ssh-ed25519 x" },
		"no file":         func(c *Config) { c.SSH = SSHConfig{KnownHosts: "/nowhere"} },
		"no way in":       func(c *Config) { c.Password = "" },
		"no user":         func(c *Config) { c.Username = "" },
		"SSH for the API": func(c *Config) { c.Transport = API },
		"another":         func(c *Config) { c.Transport = 7 },
	} {
		cfg := good
		change(&cfg)
		if b, err := New(cfg); !errors.Is(err, actors.ErrInvalid) {
			b.Close()
			t.Errorf("%s: New = %v, want ErrInvalid", name, err)
		} else {
			oneKind(t, err)
		}
	}
	b, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	if n := b.cfg.Sessions; n != 8 {
		t.Errorf("%d sessions by default, want 8", n)
	}
	b.Close()
}
