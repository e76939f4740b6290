// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"net"
	"strings"
	"time"
)

func (b *boot) resourceRow() ([][]field, error) {
	return [][]field{{
		{"uptime", uptime(time.Since(b.since))},
		{"version", b.cfg.Version},
		{"board-name", "RDS2216"},
		{"platform", "MikroTik"},
		{"architecture-name", "arm64"},
		{"cpu-count", "16"},
		{"cpu-load", "1"},
		{"total-memory", "34359738368"},
		{"free-memory", "32212254720"},
	}}, nil
}

func (b *boot) identityRow() ([][]field, error) {
	return [][]field{{{"name", b.cfg.Identity}}}, nil
}

// packageRows are RouterOS itself and rose-storage.
func (b *boot) packageRows() ([][]field, error) {
	version, _, _ := strings.Cut(b.cfg.Version, " ")
	row := func(id diskID, name string, p Package) []field {
		return []field{
			{".id", id.String()},
			{"name", name},
			{"version", version},
			{"scheduled", ""},
			{"available", flag(p == Available)},
			{"disabled", flag(p == Disabled)},
		}
	}
	rows := [][]field{row(1, "routeros", Installed)}
	if p := b.settings.now().storage; p != Missing {
		rows = append(rows, row(2, "rose-storage", p))
	}
	return rows, nil
}

func (b *boot) userRows() ([][]field, error) {
	_, own := groups(b.cfg.Username, b.settings.now().policies)
	return [][]field{{
		{".id", diskID(1).String()},
		{"name", b.cfg.Username},
		{"group", own},
		{"address", ""},
		{"disabled", "false"},
	}}, nil
}

func (b *boot) groupRows() ([][]field, error) {
	all, _ := groups(b.cfg.Username, b.settings.now().policies)
	rows := make([][]field, len(all))
	for i, g := range all {
		rows[i] = []field{
			{".id", diskID(i + 1).String()},
			{"name", g.name},
			{"policy", g.policies.String()},
			{"skin", "default"},
		}
	}
	return rows, nil
}

// certificateName is what the box's certificate is called on it.
const certificateName = "rds-sim"

// serviceRows are the services that the box has. One that is off keeps the port that is usual.
func (b *boot) serviceRows() ([][]field, error) {
	certificate := certificateName
	if b.settings.now().noCertificate {
		certificate = "none"
	}
	var rows [][]field
	for i, s := range []struct {
		name, addr, port string
		tls              []field
	}{
		{"ssh", b.cfg.SSHAddr, "22", nil},
		{"api", b.cfg.APIAddr, "8728", nil},
		{"api-ssl", b.cfg.TLSAddr, "8729", []field{{"certificate", certificate}, {"tls-version", "any"}}},
	} {
		if _, port, err := net.SplitHostPort(s.addr); err == nil {
			s.port = port
		}
		row := []field{{".id", diskID(i + 1).String()}, {"name", s.name}, {"port", s.port}, {"address", ""}}
		row = append(row, s.tls...)
		rows = append(rows, append(row,
			field{"vrf", "main"},
			field{"max-sessions", number(int64(b.cfg.MaxSessions))},
			field{"invalid", "false"},
			field{"disabled", flag(s.addr == Off)},
		))
	}
	return rows, nil
}

// systemMenus are the menus of the console that only tell.
func (b *boot) systemMenus() []menu {
	off := rowFlag{'X', "DISABLED", "disabled", ""}
	return []menu{
		{path: "/system/resource", single: true, list: b.resourceRow},
		{path: "/system/identity", single: true, list: b.identityRow},
		{
			path: "/system/package", name: "name", list: b.packageRows, columns: []string{"name", "version"},
			flags: []rowFlag{off, {'A', "AVAILABLE", "available", ""}},
		},
		{path: "/user", name: "name", list: b.userRows, columns: []string{"name", "group", "address"}, flags: []rowFlag{off}},
		{path: "/user/group", name: "name", list: b.groupRows, columns: []string{"name", "policy", "skin"}},
		{
			path: "/ip/service", name: "name", list: b.serviceRows, flags: []rowFlag{off, {'I', "INVALID", "invalid", ""}},
			columns: []string{"name", "port", "address", "certificate", "vrf", "max-sessions"},
		},
	}
}
