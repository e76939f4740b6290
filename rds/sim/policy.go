// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"slices"
	"strings"
)

// policyNames are the policies of a group in RouterOS 7, in the order in which it prints them.
var policyNames = []string{
	"local", "telnet", "ssh", "ftp", "reboot", "read", "write", "policy", "test", "winbox", "password", "web",
	"sniff", "sensitive", "api", "romon", "rest-api",
}

// policies are those that a group grants: a bit for each of policyNames.
type policies uint32

// allPolicies are those of the group full.
var allPolicies = policies(1)<<len(policyNames) - 1

// parsePolicies reads a list as RouterOS takes and prints it: what is not named is withheld, as is what has
// a ! before it.
func parsePolicies(list string) (policies, error) {
	var p policies
	for _, item := range splitList(list) {
		name, withheld := strings.CutPrefix(strings.TrimSpace(item), "!")
		i := slices.Index(policyNames, name)
		switch {
		case i < 0:
			return 0, fmt.Errorf("%.32q is none of the policies %s", name, strings.Join(policyNames, ","))
		case !withheld:
			p |= 1 << i
		}
	}
	return p, nil
}

// has reports whether a policy is granted.
func (p policies) has(name string) bool {
	i := slices.Index(policyNames, name)
	return i >= 0 && p&(1<<i) != 0
}

// String lists what is granted, and behind it what is withheld.
func (p policies) String() string {
	var granted, withheld []string
	for i, name := range policyNames {
		if p&(1<<i) != 0 {
			granted = append(granted, name)
		} else {
			withheld = append(withheld, "!"+name)
		}
	}
	return strings.Join(append(granted, withheld...), ",")
}

// A group is one of /user/group.
type group struct {
	name     string
	policies policies
}

// standardGroups are those that no box is without.
var standardGroups = []group{
	{"read", allPolicies.without("ftp", "write", "policy")},
	{"write", allPolicies.without("ftp", "policy")},
	{"full", allPolicies},
}

// without returns the policies but for some.
func (p policies) without(names ...string) policies {
	for _, name := range names {
		p &^= 1 << slices.Index(policyNames, name)
	}
	return p
}

// groups returns the box's groups, the last of which, if it is none of the standard ones, is the
// account's and has its name; and the account's.
func groups(user string, p policies) (all []group, own string) {
	for _, g := range standardGroups {
		if g.policies == p {
			return standardGroups, g.name
		}
		if g.name == user {
			user += "-own"
		}
	}
	return append(slices.Clone(standardGroups), group{user, p}), user
}

// needs returns the policies that a command asks for.
func needs(command string, changes bool, sw Switches) []string {
	need := []string{"read"}
	if changes {
		need[0] = "write"
	}
	switch {
	case changes && sw.FilesNeedFTP && strings.HasPrefix(command, "/file/"):
		need = append(need, "ftp")
	case sw.UsersNeedPolicy && strings.HasPrefix(command, "/user/"):
		need = append(need, "policy")
	}
	return need
}

// permit refuses a command for which the account's group lacks a policy.
func (b *boot) permit(c Command, changes bool) error {
	have := c.rights
	if !b.cfg.Switches.RightsAtLogin {
		have = b.settings.now().policies
	}
	for _, name := range needs(c.Name, changes, b.cfg.Switches) {
		if !have.has(name) {
			return errRights
		}
	}
	return nil
}
