// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"github.com/rds-csi/rds-csi/rds/routeros"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// TestDirect opens sessions beside a Box, and is told what to change where that fails.
func TestDirect(t *testing.T) {
	s := simulate(t, sim.Config{})
	cfg := Config{Address: s.TLSAddr(), Username: "admin", Password: testPassword, TLS: &tls.Config{RootCAs: s.Roots()}}
	api, err := DialAPI(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	if _, err := api.Run(t.Context(), "/system/identity/print"); err != nil {
		t.Error(err)
	}
	_, err = api.Run(t.Context(), "/no/such")
	if change, seen := Advice(err); !strings.Contains(seen.Error(), "no such command") || !strings.Contains(change, "rose-storage") {
		t.Errorf("Advice = %v, %q", seen, change)
	}

	cfg.Transport, cfg.TLS, cfg.Address, cfg.SSH.HostKey = SSH, nil, s.SSHAddr(), hostKey(s)
	shell, err := DialSSH(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer shell.Close()
	if out, err := shell.Run(t.Context(), ":put 1"); err != nil || out != "1\r\n" {
		t.Errorf("%q, %v", out, err)
	}

	cfg.Password = "another"
	_, err = DialSSH(t.Context(), cfg)
	change, seen := Advice(err)
	if !errors.Is(seen, routeros.ErrLogin) || !strings.Contains(change, "policy ssh") || strings.Contains(seen.Error(), change) {
		t.Errorf("Advice = %v, %q", seen, change)
	}
	cfg.Address, cfg.TLS = s.TLSAddr(), &tls.Config{RootCAs: s.Roots()}
	if _, err = DialAPI(t.Context(), cfg); !errors.Is(err, routeros.ErrLogin) {
		t.Errorf("DialAPI = %v", err)
	}
	if change, seen := Advice(errors.New("something else")); seen.Error() != "something else" || change != "" {
		t.Errorf("Advice = %v, %q", seen, change)
	}
	for path, ok := range map[string]bool{"/raid10": true, "raid10": false, "/raid10/": false, "/raid10/../x": false} {
		if err := CheckPath(path); (err == nil) != ok {
			t.Errorf("CheckPath(%q) = %v", path, err)
		}
	}
}
