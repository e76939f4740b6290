// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rds-csi/rds-csi/rds"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

// storage looks at the package that brings the disks.
func (e *examination) storage(ctx context.Context) {
	const name, wanted = "package rose-storage", "rose-storage"
	rows, err := e.reader.Print(ctx, "/system/package", "name", "version", "disabled", "available")
	if err != nil {
		e.failed(name, Warn, err)
		return
	}
	i := slices.IndexFunc(rows, func(r routeros.Row) bool { return r.Get("name") == wanted })
	do := "install the package " + wanted + " on the box, in the version of its RouterOS, and reboot it"
	switch {
	case i < 0:
		e.report.check(name, Fail, "it is not among the box's packages", do)
	case yes(rows[i].Get("available")):
		e.report.check(name, Fail, "it is available and not installed", do)
	case yes(rows[i].Get("disabled")):
		e.report.check(name, Fail, "it is disabled", "enable the package "+wanted+" and reboot the box")
	default:
		e.report.check(name, OK, or(rows[i].Get("version"), "installed"), "")
	}
}

// rightsCheck is the name of the check of the account's policies.
const rightsCheck = "policies of the account"

// rights looks at the policies of the account.
func (e *examination) rights(ctx context.Context) {
	const name = rightsCheck
	users, err := e.reader.Print(ctx, "/user", "name", "group")
	if err != nil {
		e.unreadable(name, err)
		return
	}
	user, _, _ := strings.Cut(e.cfg.Box.Username, "+") // what follows are options of the console
	i := slices.IndexFunc(users, func(r routeros.Row) bool { return r.Get("name") == user })
	if i < 0 {
		e.report.check(name, Skipped, "the account is not among the box's own users, as one of RADIUS", "make sure that its group has the policies read, write and "+e.loginPolicy())
		return
	}
	groups, err := e.reader.Print(ctx, "/user/group", "name", "policy")
	if err != nil {
		e.unreadable(name, err)
		return
	}
	group := users[i].Get("group")
	for _, g := range groups {
		if g.Get("name") == group {
			e.judgeRights(name, group, splitPolicies(g.Get("policy")))
			return
		}
	}
	e.report.check(name, Skipped, fmt.Sprintf("its group %q is not shown", group), "")
}

// unreadable reports that the account may not read about itself.
func (e *examination) unreadable(name string, err error) {
	_, seen := rds.Advice(err)
	e.report.check(name, Skipped, "the account may not read them: "+seen.Error(),
		"make sure that its group has the policies read, write and "+e.loginPolicy()+", and ftp where files cannot be removed")
}

func (e *examination) loginPolicy() string {
	if e.cfg.Box.Transport == rds.SSH {
		return "ssh"
	}
	return "api"
}

func (e *examination) judgeRights(name, group string, granted []string) {
	var lacks []string
	for _, p := range []string{"read", "write", e.loginPolicy()} {
		if !slices.Contains(granted, p) {
			lacks = append(lacks, p)
		}
	}
	var surplus []string
	for _, p := range []string{"policy", "password", "sensitive", "reboot"} {
		if slices.Contains(granted, p) {
			surplus = append(surplus, p)
		}
	}
	seen := fmt.Sprintf("group %q: %s", group, strings.Join(granted, ","))
	switch {
	case len(lacks) > 0:
		e.report.check(name, Fail, seen, "give the group "+strings.Join(lacks, ", "))
	case !slices.Contains(granted, "ftp"):
		e.report.check(name, Warn, seen, "where the box refuses to remove files, give the group ftp; the write test tells")
	case len(surplus) > 0:
		e.report.check(name, Warn, seen, "the driver does not need "+strings.Join(surplus, ", ")+": give it an account of its own with read, write, ftp and "+e.loginPolicy())
	default:
		e.report.check(name, OK, seen, "")
	}
	e.report.Checks[len(e.report.Checks)-1].granted = granted
}

// splitPolicies returns those of a list that are not withheld.
func splitPolicies(list string) (granted []string) {
	for _, p := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ';' || r == ' ' }) {
		if !strings.HasPrefix(p, "!") {
			granted = append(granted, p)
		}
	}
	return granted
}

// services looks at the service that the driver uses.
func (e *examination) services(ctx context.Context) {
	const name = "service"
	rows, err := e.reader.Print(ctx, "/ip/service", "name", "port", "max-sessions", "certificate", "disabled", "address")
	if err != nil {
		e.failed(name, Skipped, err)
		return
	}
	service := "api"
	switch {
	case e.cfg.Box.Transport == rds.SSH:
		service = "ssh"
	case e.cfg.Box.TLS != nil:
		service = "api-ssl"
	}
	i := slices.IndexFunc(rows, func(r routeros.Row) bool { return r.Get("name") == service })
	if i < 0 {
		e.report.check(name, Skipped, "there is no service "+service, "")
		return
	}
	r := rows[i]
	seen := fmt.Sprintf("%s at port %s", service, or(r.Get("port"), "unknown"))
	if from := r.Get("address"); from != "" {
		seen += ", open to " + from
	}
	e.max, _ = strconv.Atoi(r.Get("max-sessions")) // 0 where it is not told
	wanted := e.cfg.Box.Sessions
	if wanted == 0 {
		wanted = 8
	}
	switch {
	case e.max == 0:
		e.report.check(name, OK, seen, "")
	case e.max < wanted+2:
		e.report.check(name, Warn, fmt.Sprintf("%s, at most %d sessions", seen, e.max), fmt.Sprintf("raise max-sessions, or lower --rds-sessions: the driver takes up to %d, and people need some", wanted))
	default:
		e.report.check(name, OK, fmt.Sprintf("%s, at most %d sessions", seen, e.max), "")
	}
}

// yes reads a truth value of the API or the console.
func yes(value string) bool { return value == "true" || value == "yes" }
