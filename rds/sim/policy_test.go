// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// alter is Change that must not fail.
func alter(t *testing.T, s *Sim, c Change) {
	t.Helper()
	if err := s.Change(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// TestPolicies holds how policies are read and written, and of which group they are.
func TestPolicies(t *testing.T) {
	const rest = ",!local,!telnet,!ssh,!ftp,!reboot,!policy,!test,!winbox,!password,!web,!sniff,!sensitive,!romon,!rest-api"
	for _, tt := range []struct{ list, want, group string }{
		{"api,write,read", "read,write,api" + rest, "csi"},
		{"read,!ftp, write,api", "read,write,api" + rest, "csi"},
		{strings.Join(policyNames, ","), "local,telnet,ssh,ftp,reboot,read,write,policy,test,winbox,password,web,sniff,sensitive,api,romon,rest-api", "full"},
		{"local,telnet,ssh,reboot,read,test,winbox,password,web,sniff,sensitive,api,romon,rest-api", "local,telnet,ssh,reboot,read,test,winbox,password,web,sniff,sensitive,api,romon,rest-api,!ftp,!write,!policy", "read"},
		{"!read", policies(0).String(), "csi"},
	} {
		p, err := parsePolicies(tt.list)
		if _, own := groups("csi", p); err != nil || p.String() != tt.want || own != tt.group {
			t.Errorf("%s: %s of group %s, %v; want %s of group %s", tt.list, p, own, err, tt.want, tt.group)
		}
	}
	if _, err := parsePolicies("read,dude"); err == nil || !strings.Contains(err.Error(), `"dude"`) {
		t.Errorf("a policy of an older RouterOS: %v", err)
	}
	if all, own := groups("write", 0); own != "write-own" || len(all) != 4 {
		t.Errorf("the group of a user with the name of a standard group: %s of %v", own, all)
	}
}

// TestLoginPolicies shows that who may not use a transport is refused as with a wrong password, until
// that is mended.
func TestLoginPolicies(t *testing.T) {
	s := start(t, Config{Policies: "read,write,ssh"})
	loginSSH(t, s)
	refused := func() {
		t.Helper()
		c := dial(t, s)
		c.send("/login", "=name=admin", "=password="+testPassword)
		c.want("!trap", "=message=invalid user name or password (6)")
	}
	refused()
	alter(t, s, Change{Policies: new("read,write,api")})
	login(t, s)
	if _, err := dialSSH(t, s, "admin", ssh.Password(testPassword)); err == nil {
		t.Error("SSH lets an account in without the policy ssh")
	}
	alter(t, s, Change{Password: new("other")})
	refused()
	reboot(t, s)
	refused()
	alter(t, s, Change{Password: new(testPassword)})
	login(t, s)
}

// TestRights shows what a lack of policies refuses, in the words of both transports, that nothing is done
// then, and that a change counts for a session that is open.
func TestRights(t *testing.T) {
	const no = "not enough permissions (9)"
	s := start(t, Config{})
	api, con := login(t, s), loginSSH(t, s)
	id := api.add("vm-1")
	writes := [][]string{
		addWords("vm-2"),
		{"/disk/set", "=.id=" + id, "=comment=x"},
		{"/disk/remove", "=.id=" + id},
		{"/file/remove", "=numbers=raid10/vm-1.img"},
		{"/file/add", "=name=raid10/d", "=type=directory"},
	}
	alter(t, s, Change{Policies: new("read,api,ssh")})
	for _, words := range writes {
		api.refused(no, words...)
	}
	con.prints(no+"\n", `/disk set vm-1 comment=x`)
	con.prints(no+"\n", `/disk add type=file slot=vm-2 file-path=/raid10/vm-2 file-size=1M; :put "after"`)
	con.prints("refused: "+no+"\n", `:onerror e in={/disk remove [find where slot="vm-1"]} do={:put ("refused: ".$e)}`)
	if rows, _ := api.must("/disk/print"); len(rows) != 2 || api.disk("vm-1")["comment"] != "" || len(s.Files()) != 1 {
		t.Errorf("what was refused was done: %v, %v", rows, s.Files())
	}
	alter(t, s, Change{Policies: new("write,api,ssh")})
	for _, words := range [][]string{{"/disk/print"}, {"/disk/listen"}, {"/system/resource/print"}, {"/user/print"}, {"/system/package/getall"}} {
		api.refused(no, words...)
	}
	con.prints(no+"\n", `/disk print`)
	con.prints(no+"\n", `:put [/disk get vm-1 slot]`)
	for _, words := range writes[:2] {
		api.must(words...)
	}
	alter(t, s, Change{Policies: new("")})
	api.must("/disk/print")
	con.prints("2\n", `:put [:len [/disk find where type=file]]`)
}

// TestRightsSwitches holds the unknowns of rights.
func TestRightsSwitches(t *testing.T) {
	const no = "not enough permissions (9)"
	s := start(t, Config{Policies: "read,write,api,ssh", Switches: Switches{RightsAtLogin: true, FilesNeedFTP: true, UsersNeedPolicy: true}})
	api, con := login(t, s), loginSSH(t, s)
	api.add("vm-1")
	api.refused(no, "/file/remove", "=numbers=raid10/vm-1.img")
	api.refused(no, "/user/print")
	con.prints(no+"\n", "/user group print")
	alter(t, s, Change{Policies: new("")})
	api.refused(no, "/file/remove", "=numbers=raid10/vm-1.img")
	con.prints(no+"\n", "/user group print")
	api = login(t, s)
	api.must("/file/remove", "=numbers=raid10/vm-1.img")
	api.must("/user/print")
	alter(t, s, Change{Policies: new("api")})
	api.must("/disk/print")
}
