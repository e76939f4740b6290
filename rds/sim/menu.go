// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/rds-csi/rds-csi/rds/sim/script"
)

// A menu is a part of the console.
type menu struct {
	path     string
	name     string // the property that names an item
	single   bool   // there is one row, without an .id
	flags    []rowFlag
	columns  []string // of print
	list     func() ([][]field, error)
	commands map[string]verb
}

// A verb is a command of a menu.
type verb struct {
	form script.Command
	run  func(ctx context.Context, c *cli, m menu, call script.Call) (script.Value, error)
}

// settable are the properties of a disk that add and set take.
var settable = append([]string{
	"slot", "comment", "file-size", "file-offset", "nvme-tcp-server-port", "nvme-tcp-server-nqn",
	"nvme-tcp-server-allow-host-name", "nvme-tcp-server-password", "disabled", "mount-filesystem", "nvme-tcp-export",
}, inert[:]...)

// console returns the menus of the console.
func (b *boot) console() map[string]menu {
	disk := menu{
		path: "/disk", name: "slot", flags: diskFlags, list: b.diskRows,
		columns: []string{"slot", "type", "fs", "size", "free", "state", "nvme-tcp-export", "comment"},
		commands: map[string]verb{
			"add": {script.Command{Params: append([]string{"type", "file-path"}, settable...)}, runAdd(b.diskAdd)},
			"set": {script.Command{Params: append([]string{"numbers"}, settable...), Unnamed: []string{"numbers"}}, runItems(b.diskSet)},
		},
	}
	disk.commands["remove"] = removal(b.diskRemove)
	file := menu{
		path: "/file", name: "name", list: b.fileRows, columns: []string{"name", "type", "size", "last-modified"},
		commands: map[string]verb{
			"add": {script.Command{Params: []string{"name", "type"}}, runAdd(b.fileAdd)},
		},
	}
	file.commands["remove"] = removal(b.fileRemove)
	menus := map[string]menu{}
	for _, m := range append(b.systemMenus(), disk, file) {
		if m.commands == nil {
			m.commands = map[string]verb{}
		}
		m.commands["print"] = verb{script.Command{
			Params:  []string{"proplist", ".proplist"},
			Flags:   []string{"detail", "brief", "terse", "value-list", "as-value", "without-paging", "count-only", "show-ids"},
			Unnamed: nil, Where: !m.single,
		}, runPrint}
		get := script.Command{Params: []string{"numbers", "number", "value-name"}, Unnamed: []string{"numbers", "value-name"}}
		if m.single {
			get.Unnamed = []string{"value-name"}
		} else {
			m.commands["find"] = verb{script.Command{Where: true, Implicit: true}, runFind}
		}
		m.commands["get"] = verb{get, runGet}
		menus[m.path] = m
	}
	return menus
}

func removal(run func(context.Context, Command) (reply, error)) verb {
	return verb{script.Command{Params: []string{"numbers"}, Unnamed: []string{"numbers"}}, runItems(run)}
}

// language returns what scripts may say as the box is now.
func (b *boot) language() script.Commands {
	commands := script.Commands{}
	for path, m := range b.menus {
		if path == "/disk" && b.lacksDisks() {
			continue
		}
		for name, v := range m.commands {
			commands[path+"/"+name] = b.form(path, v)
		}
	}
	return commands
}

// runAdd makes the run of an add of a command of the model.
func runAdd(run func(context.Context, Command) (reply, error)) func(context.Context, *cli, menu, script.Call) (script.Value, error) {
	return func(ctx context.Context, c *cli, _ menu, call script.Call) (script.Value, error) {
		cmd := Command{Name: call.Path}
		for _, a := range call.Args {
			cmd.setArg(a.Name, a.Value.String())
		}
		r, err := c.do(ctx, cmd, handler{run: run, changes: true})
		if id, ok := lookup(r.done, "ret"); ok && err == nil {
			return script.Text(id), nil
		}
		return script.Nothing{}, err
	}
}

// runItems makes the run of a command of the model on items. One on what a find did not find does
// nothing.
func runItems(run func(context.Context, Command) (reply, error)) func(context.Context, *cli, menu, script.Call) (script.Value, error) {
	return func(ctx context.Context, c *cli, m menu, call script.Call) (script.Value, error) {
		items, ok, err := c.items(m, call.Arg("numbers"))
		if err != nil || !ok {
			return script.Nothing{}, err
		}
		if items, err = m.named(items); err != nil {
			return nil, err
		}
		cmd := Command{Name: call.Path, Args: []Arg{{"numbers", strings.Join(items, ",")}}}
		for _, a := range call.Args {
			if a.Name != "numbers" {
				cmd.setArg(a.Name, a.Value.String())
			}
		}
		_, err = c.do(ctx, cmd, handler{run: run, changes: true})
		return script.Nothing{}, err
	}
}

// named turns the .ids of files into names, which is what the model knows them by.
func (m menu) named(items []string) ([]string, error) {
	isID := func(item string) bool { return strings.HasPrefix(item, "*") }
	if m.name != "name" || !slices.ContainsFunc(items, isID) {
		return items, nil
	}
	rows, err := m.list()
	if err != nil {
		return nil, err
	}
	for i, item := range items {
		for _, row := range rows {
			if id, _ := lookup(row, ".id"); id == item {
				items[i], _ = lookup(row, "name")
			}
		}
	}
	return items, nil
}

// runFind returns the .ids of rows.
func runFind(ctx context.Context, c *cli, m menu, call script.Call) (script.Value, error) {
	rows, err := c.rows(ctx, m, call, true)
	if err != nil {
		return nil, err
	}
	ids := make(script.List, len(rows))
	for i, row := range rows {
		ids[i] = row.Get(".id")
	}
	return ids, nil
}

// runGet returns a property of one row, or the row.
func runGet(ctx context.Context, c *cli, m menu, call script.Call) (script.Value, error) {
	rows, err := c.rows(ctx, m, call, true)
	if err != nil {
		return nil, err
	}
	if !m.single {
		which := call.Arg("numbers")
		if which == script.Value(script.Nothing{}) {
			which = call.Arg("number")
		}
		items, ok, err := c.items(m, which)
		if err != nil || !ok || len(items) != 1 {
			return nil, errNoItem
		}
		rows = slices.DeleteFunc(rows, func(r script.Row) bool {
			return r.Get(".id").String() != items[0] && r.Get(m.name).String() != items[0]
		})
	}
	if len(rows) == 0 {
		return nil, errNoItem
	}
	name := call.Arg("value-name").String()
	if name == "" {
		return rows[0], nil
	}
	v := rows[0].Get(name)
	if v == script.Value(script.Nothing{}) && !m.property(name) {
		return nil, mismatch("value-name")
	}
	return v, nil
}

// property reports whether rows of the menu may have a property.
func (m menu) property(name string) bool {
	return m.path == "/disk" && (slices.Contains(settable, name) || slices.Contains([]string{"free", "use", "mount-point", "state", "raid-type", "raid-device-count", "file-path"}, name)) ||
		m.path == "/file" && slices.Contains([]string{"size", "type", "last-modified"}, name)
}

// parseNumber reads decimal digits.
func parseNumber(s string) (int64, bool) {
	if s == "" || len(s) > 1 && s[0] == '0' || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}
