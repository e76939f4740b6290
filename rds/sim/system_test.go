// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"maps"
	"net"
	"testing"
)

// TestSystemRows holds what the API answers of users, packages and services.
func TestSystemRows(t *testing.T) {
	s := start(t, Config{Policies: "read,write,api", Storage: Disabled, SSHAddr: Off, MaxSessions: 7})
	api := login(t, s)
	_, port, err := net.SplitHostPort(s.APIAddr())
	if err != nil {
		t.Fatal(err)
	}
	const policy = "read,write,api,!local,!telnet,!ssh,!ftp,!reboot,!policy,!test,!winbox,!password,!web,!sniff,!sensitive,!romon,!rest-api"
	for _, tt := range []struct {
		menu, name string
		rows       int
		want       row
	}{
		{"/user", "admin", 1, row{".id": "*1", "name": "admin", "group": "admin", "address": "", "disabled": "false"}},
		{"/user/group", "admin", 4, row{".id": "*4", "name": "admin", "policy": policy, "skin": "default"}},
		{"/system/package", "routeros", 2, row{".id": "*1", "name": "routeros", "version": "7.20.4", "scheduled": "", "available": "false", "disabled": "false"}},
		{"/system/package", "rose-storage", 2, row{".id": "*2", "name": "rose-storage", "version": "7.20.4", "scheduled": "", "available": "false", "disabled": "true"}},
		{"/ip/service", "ssh", 3, row{".id": "*1", "name": "ssh", "port": "22", "address": "", "vrf": "main", "max-sessions": "7", "invalid": "false", "disabled": "true"}},
		{"/ip/service", "api", 3, row{".id": "*2", "name": "api", "port": port, "address": "", "vrf": "main", "max-sessions": "7", "invalid": "false", "disabled": "false"}},
	} {
		rows, _ := api.must(tt.menu+"/print", "?name="+tt.name)
		if len(rows) != 1 || !maps.Equal(rows[0], tt.want) {
			t.Errorf("%s %s: %v, want %v", tt.menu, tt.name, rows, tt.want)
		}
		if rows, _ := api.must(tt.menu + "/getall"); len(rows) != tt.rows {
			t.Errorf("%s: %d rows, want %d", tt.menu, len(rows), tt.rows)
		}
	}
	alter(t, s, Change{Storage: new(Available)})
	if rows, _ := api.must("/system/package/print", "?available=true"); len(rows) != 1 || rows[0]["name"] != "rose-storage" {
		t.Errorf("packages that could be installed: %v", rows)
	}
	alter(t, s, Change{Storage: new(Missing)})
	if rows, _ := api.must("/system/package/print"); len(rows) != 1 {
		t.Errorf("packages without rose-storage: %v", rows)
	}
	reboot(t, s)
	if rows, _ := login(t, s).must("/user/print", "?group=admin"); len(rows) != 1 {
		t.Errorf("users after a reboot: %v", rows)
	}
}

// TestSystemPrint holds how the console prints them.
func TestSystemPrint(t *testing.T) {
	s := start(t, Config{Policies: "ssh,read,write", APIAddr: Off, TLSAddr: Off, Storage: Available})
	con := loginSSH(t, s)
	for src, want := range map[string]string{
		"/user print":                                               "Columns: NAME, GROUP, ADDRESS\n#    NAME   GROUP  ADDRESS\n0    admin  admin\n",
		"/user/print detail":                                        " 0    name=\"admin\" group=admin address=\"\"\n",
		"/user print terse":                                         " 0   name=admin group=admin address=\n",
		"/system package print":                                     "Flags: A - AVAILABLE\nColumns: NAME, VERSION\n#     NAME          VERSION\n0     routeros      7.20.4\n1  A  rose-storage  7.20.4\n",
		"/ip/service/print terse":                                   " 0    name=ssh port=" + portOf(t, s.SSHAddr()) + " address= vrf=main max-sessions=20 invalid=no\n 1 X  name=api port=8728 address= vrf=main max-sessions=20 invalid=no\n 2 X  name=api-ssl port=8729 address= certificate=rds-sim tls-version=any vrf=main max-sessions=20 invalid=no\n",
		":put [/user get admin group]":                              "admin\n",
		":put [/system package get rose-storage available]":         "true\n",
		":put [/ip service get [find where name=\"api\"] disabled]": "true\n",
		":foreach g in=[/user group print as-value] do={:put ($g->\"name\")}": "read\nwrite\nfull\nadmin\n",
		":put [/user group get [/user get admin group] policy]":               "ssh,read,write,!local,!telnet,!ftp,!reboot,!policy,!test,!winbox,!password,!web,!sniff,!sensitive,!api,!romon,!rest-api\n",
		":put [/system package print count-only where name=\"rose-storage\"]": "1\n",
		":put [/system identity get name]":                                    "rds-sim\n",
	} {
		con.prints(want, src)
	}
}

func portOf(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
