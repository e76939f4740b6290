// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLogin(t *testing.T) {
	s := start(t, Config{})
	c := dial(t, s)
	for _, words := range [][]string{
		{"/login", "=name=admin", "=password=wrong"},
		{"/login", "=name=root", "=password=" + testPassword},
		{"/login", "=name=admin"},
		{"/login"},
	} {
		c.send(words...)
		c.want("!trap", "=message=invalid user name or password (6)")
		c.want("!done")
	}
	c.send("/login", "=name=admin", "=password="+testPassword, ".tag=x")
	c.want("!done", ".tag=x")
	c.must("/system/identity/print")
}

func TestCommandBeforeLogin(t *testing.T) {
	s := start(t, Config{})
	c := dial(t, s)
	c.send("/disk/print")
	c.want("!fatal", "not logged in")
	c.wantClosed()
}

func TestTLS(t *testing.T) {
	c := dialTLS(t, start(t, Config{Identity: "box-7"}))
	rows, _ := c.must("/system/identity/print")
	if want := []row{{"name": "box-7"}}; !slices.EqualFunc(rows, want, maps.Equal) {
		t.Errorf("rows are %v, want %v", rows, want)
	}
}

// TestConfig holds what Start refuses, and that the error says what to change.
func TestConfig(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "no directory is given"},
		{Config{Dir: dir, Capacity: -1}, "capacity of -1 bytes"},
		{Config{Dir: dir, Pool: "a/b"}, "pool name"},
		{Config{Dir: dir, Filesystem: "ext4"}, "not btrfs or xfs"},
		{Config{Dir: dir, Concurrency: -1}, "must not be negative"},
		{Config{Dir: dir, ServiceTime: -time.Second}, "must not be negative"},
		{Config{Dir: dir, Switches: Switches{ExportDelay: -1}}, "must not be negative"},
		{Config{Dir: dir, NVMeHost: "localhost"}, "not an IP address"},
		{Config{Dir: dir, Password: "a\x00"}, "zero byte"},
		{Config{Dir: dir, APIAddr: "127.0.0.1"}, "not host:port"},
		{Config{Dir: dir, TLSAddr: "192.0.2.1:0"}, "empty password"},
		{Config{Dir: dir, TLSAddr: "192.0.2.1:0", Password: "x"}, "serve the API"}, // there is no such address here
		{Config{Dir: filepath.Join(dir, "tls.key", "x")}, "make the box's directory"},
	} {
		s, err := Start(t.Context(), tt.cfg)
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Start(%+v): %v, want %q", tt.cfg, err, tt.want)
		}
	}
}

// TestClosed shows what is left of a box that was closed.
func TestClosed(t *testing.T) {
	s := start(t, Config{})
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	s.DropConnections()
	if err := s.Reboot(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Reboot: %v, want ErrClosed", err)
	}
	if s.Disks() != nil || s.Files() != nil || s.Hosts("x") != nil || s.APIAddr() == "" {
		t.Error("a closed box has disks")
	}
}
