// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"crypto/tls"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestWithoutPackage shows what is left without rose-storage, what is said of the rest, and that all comes
// back with it.
func TestWithoutPackage(t *testing.T) {
	s := start(t, Config{NVMeHost: LoopbackHost()})
	api, con := login(t, s), loginSSH(t, s)
	api.exported("vm-1", nqnA, 4420)
	newInitiator("n1").attach(t, s, nqnA, 4420)
	for _, p := range []Package{Disabled, Available, Missing} {
		alter(t, s, Change{Storage: &p})
		if rows, _ := api.must("/disk/print"); len(rows) != 0 {
			t.Errorf("%v: rows are %v", p, rows)
		}
		if _, err := newInitiator("n1").connect(t, s, nqnA, 4420); err == nil {
			t.Errorf("%v: a disk is served", p)
		}
		api.refused("input does not match any value of type", addWords("vm-2")...)
		api.refused("unknown parameter file-path", "/disk/add", "=file-path=/raid10/x", "=type=file")
		api.refused("no such item", "/disk/set", "=numbers=vm-1", "=comment=x")
		con.prints("expected end of command (line 1 column 21)\n", `/disk add type=file file-path=/raid10/x`)
		con.prints("input does not match any value of type\n", `/disk add type=file slot=x`)
		con.prints("0\n", `:put [/disk print count-only]`)
		reboot(t, s)
		api, con = login(t, s), loginSSH(t, s)
	}
	alter(t, s, Change{Storage: new(Installed)})
	if api.disk("vm-1")["nvme-tcp-export"] != "true" || len(s.Files()) != 1 {
		t.Errorf("the disk is %v, files are %v", api.disk("vm-1"), s.Files())
	}
	newInitiator("n1").attach(t, s, nqnA, 4420)
	api.add("vm-2")
}

// TestPackageSwitches holds the unknowns of a box without rose-storage.
func TestPackageSwitches(t *testing.T) {
	s := start(t, Config{Storage: Missing, Switches: Switches{PlainPool: true}})
	api := login(t, s)
	if rows, _ := api.must("/disk/print"); len(rows) != 1 || rows[0]["slot"] != "raid10" {
		t.Errorf("rows are %v, want the pool", rows)
	}
	api.must("/file/add", "=name=raid10/d", "=type=directory")
	s = start(t, Config{Storage: Missing, Switches: Switches{NoDiskMenu: true}})
	login(t, s).refused("no such command prefix", "/disk/print")
	loginSSH(t, s).prints("bad command name disk (line 1 column 2)\n", "/disk print")
	alter(t, s, Change{Storage: new(Installed)})
	login(t, s).must("/disk/print")
	loginSSH(t, s).prints("1\n", ":put [/disk print count-only]")
}

// TestPoolMissing shows that a pool that is not there takes its files and exports along, over reboots,
// and that they come back with it: also what was to be late after the reboot.
func TestPoolMissing(t *testing.T) {
	s := start(t, Config{NVMeHost: LoopbackHost(), Switches: Switches{PoolDelay: time.Hour}})
	api := login(t, s)
	api.exported("vm-1", nqnA, 4420)
	newInitiator("n1").attach(t, s, nqnA, 4420)
	alter(t, s, Change{PoolMissing: new(true)})
	for range 2 {
		rows, _ := api.must("/disk/print")
		if files, _ := api.must("/file/print"); len(rows) != 1 || rows[0]["slot"] != "vm-1" || len(files) != 0 {
			t.Errorf("rows are %v, files %v", rows, files)
		}
		if _, err := newInitiator("n1").connect(t, s, nqnA, 4420); err == nil {
			t.Error("a disk of a missing pool is served")
		}
		api.refused("failure: no such directory", addWords("vm-2")...)
		api.refused("no such item", "/file/remove", "=numbers=raid10/vm-1.img")
		reboot(t, s)
		api = login(t, s)
		arrive(t, s, 0, 2)
	}
	alter(t, s, Change{PoolMissing: new(false)})
	newInitiator("n1").attach(t, s, nqnA, 4420)
	api.add("vm-2")
	if rows, _ := api.must("/disk/print"); len(rows) != 3 {
		t.Errorf("rows are %v", rows)
	}
}

// TestMissingDisks shows that a disk that is not there has no export and the others have theirs, on the same port, over
// reboots and beside a pool that is missing for a while; and that its hosts are told that its name is unknown.
func TestMissingDisks(t *testing.T) {
	s := start(t, Config{NVMeHost: LoopbackHost(), Switches: Switches{DiskDelay: time.Hour}})
	api := login(t, s)
	api.exported("vm-1", nqnA, 4420)
	api.exported("vm-2", nqnB, 4420)
	for _, change := range []func(){
		func() { alter(t, s, Change{MissingDisks: new("vm-9,vm-2")}) },
		func() { reboot(t, s); arrive(t, s, 2, 3) },
		func() { alter(t, s, Change{PoolMissing: new(true)}); alter(t, s, Change{PoolMissing: new(false)}) },
		func() { alter(t, s, Change{PoolState: new("degraded")}) },
	} {
		change()
		newInitiator("n1").attach(t, s, nqnA, 4420)
		if _, err := newInitiator("n1").connect(t, s, nqnB, 4420); err == nil || errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a host of the missing disk gets %v", err)
		}
		if rows, _ := login(t, s).must("/disk/print", "?type=file"); len(rows) != 2 {
			t.Errorf("rows are %v", rows)
		}
	}
	if got := s.Settings().MissingDisks; got != "vm-9,vm-2" {
		t.Errorf("the settings tell of %q", got)
	}
	alter(t, s, Change{MissingDisks: new("")})
	newInitiator("n1").attach(t, s, nqnB, 4420)
}

// arrive lets rows come back, as their time does.
func arrive(t *testing.T, s *Sim, ids ...diskID) {
	t.Helper()
	m := s.boot().machine
	if err := m.do(t.Context(), func() {
		for _, id := range ids {
			m.arrive(id)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// TestPoolState shows that the pool's state is what is asked for.
func TestPoolState(t *testing.T) {
	s := start(t, Config{PoolState: "degraded"})
	api := login(t, s)
	for _, state := range []string{"degraded", "failed", ""} {
		alter(t, s, Change{PoolState: &state})
		if state == "" {
			state = "clean"
		}
		if got := api.disk("raid10")["state"]; got != state {
			t.Errorf("state is %q, want %q", got, state)
		}
	}
}

// TestNoCertificate shows that api-ssl refuses TLS until it has a certificate.
func TestNoCertificate(t *testing.T) {
	s := start(t, Config{NoCertificate: true})
	service := func() row {
		t.Helper()
		rows, _ := login(t, s).must("/ip/service/print", "?name=api-ssl")
		return rows[0]
	}
	d := tls.Dialer{Config: &tls.Config{RootCAs: s.Roots(), MinVersion: tls.VersionTLS12}}
	if conn, err := d.DialContext(t.Context(), "tcp", s.TLSAddr()); err == nil {
		_ = conn.Close()
		t.Error("TLS begins without a certificate")
	} else if !strings.Contains(err.Error(), "handshake failure") {
		t.Errorf("TLS is refused with %v", err)
	}
	if got := service()["certificate"]; got != "none" {
		t.Errorf("certificate is %q, want none", got)
	}
	alter(t, s, Change{NoCertificate: new(false)})
	dialTLS(t, s)
	if got := service()["certificate"]; got != "rds-sim" {
		t.Errorf("certificate is %q", got)
	}
}

// TestChangeRefused shows that a change of which a part is wrong changes nothing.
func TestChangeRefused(t *testing.T) {
	s := start(t, Config{APIAddr: "127.0.0.1:0"})
	before := s.Settings()
	for want, c := range map[string]Change{
		`"dude"`:     {Policies: new("read,dude"), PoolMissing: new(true)},
		"pool state": {PoolState: new("a\nb"), NoCertificate: new(true)},
		"zero byte":  {Password: new("x\x00y"), Storage: new(Missing)},
	} {
		if err := s.Change(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "x\x00") {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
	if s.Settings() != before {
		t.Errorf("settings are %+v, want %+v", s.Settings(), before)
	}
	login(t, s)
}
