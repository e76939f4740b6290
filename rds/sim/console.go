// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/rds-csi/rds-csi/rds/sim/script"
)

// A cli is what the scripts of one channel work on. It is for one goroutine.
type cli struct {
	box    *boot
	number uint64   // of the session
	rights policies // of the account when it logged in
	alive  context.Context
	drop   func() // ends the connection
	out    *output

	numbers map[string][]string // .ids by menu, as the last print numbered them
}

// newCLI returns one that prints to out.
func newCLI(s *sshSession, out *output) *cli {
	return &cli{
		box: s.box, number: s.number, rights: s.rights, alive: s.ctx, drop: s.cancel, out: out, numbers: map[string][]string{},
	}
}

// run carries out a script that begins in a menu, prints what goes wrong as the box does, on the
// standard output, and returns the menu in which it ends. failed is true where the script was not
// carried out to its end.
func (c *cli) run(src, menu string) (next string, failed bool, err error) {
	s, err := script.Parse(src, menu, c.box.language())
	if err != nil {
		return menu, true, c.say(err.Error())
	}
	ctx := c.box.ctx // goes on without the connection
	if c.box.cfg.Switches.EndScripts {
		ctx = c.alive
	}
	if err := sleep(ctx, c.box.cfg.ExecTime); err != nil {
		return menu, true, err
	}
	err = script.NewConsole(c).Run(ctx, s, c.out)
	var f *script.Failure
	switch {
	case errors.As(err, &f):
		return menu, true, c.say(f.Message)
	case err != nil:
		return menu, true, err
	}
	return s.Menu(), false, nil
}

func (c *cli) say(line string) error {
	_, err := io.WriteString(c.out, line+"\n")
	return err
}

// Run carries out one command of a script.
func (c *cli) Run(ctx context.Context, call script.Call) (script.Value, error) {
	at := strings.LastIndexByte(call.Path, '/')
	m, verb := c.box.menus[call.Path[:at]], call.Path[at+1:]
	v, err := m.commands[verb].run(ctx, c, m, call)
	var t *trap
	if errors.As(err, &t) {
		return nil, &script.Failure{Message: t.console()}
	}
	return v, err
}

// console is the text of a trap in the console's words.
func (t *trap) console() string {
	if name, ok := strings.CutPrefix(t.message, "missing ="); ok {
		return "missing value(s) of argument(s) " + strings.TrimSuffix(name, "=")
	}
	return t.message
}

// do carries out a command by the service-time model, with what goes wrong with it.
func (c *cli) do(ctx context.Context, cmd Command, h handler) (reply, error) {
	cmd.Session, cmd.Transport, cmd.rights = c.number, transportSSH, c.rights
	c.box.counts.add(cmd.Name)
	fault := c.box.fault(cmd)
	if h.changes {
		c.out.flush() // who waits may see how far the script has come
	}
	var r reply
	err := fault.do(ctx, c.drop, func() (err error) {
		if err := c.box.permit(cmd, h.changes); err != nil {
			return err
		}
		if h.free {
			r, err = h.run(ctx, cmd)
			return err
		}
		r, err = c.box.serve(ctx, nil, c.box.late(c.alive, h), cmd)
		return err
	})
	if fault.Truncate {
		c.out.cut = true
	}
	if errors.Is(err, errDropped) {
		c.out.gone = true // the connection ends on its own time
	}
	if errors.Is(err, errDropped) && !fault.DropBefore && !c.box.cfg.Switches.EndScripts {
		err = nil // the script goes on without anybody to tell
	}
	return r, err
}

// rows lists a menu for print, find and get, and keeps those that pass the filter.
func (c *cli) rows(ctx context.Context, m menu, call script.Call, free bool) ([]script.Row, error) {
	cmd := Command{Name: call.Path}
	for _, a := range call.Args {
		cmd.Args = append(cmd.Args, Arg{a.Name, a.Value.String()})
	}
	r, err := c.do(ctx, cmd, handler{free: free, run: func(context.Context, Command) (reply, error) {
		rows, err := m.list()
		return reply{rows: rows}, err
	}})
	if err != nil {
		return nil, err
	}
	var rows []script.Row
	for _, fields := range r.rows {
		row := typed(fields)
		ok := true
		if call.Filter != nil {
			if ok, err = call.Filter(row); err != nil {
				return nil, err
			}
		}
		if ok {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// typed returns a row with the console's types: numbers and truth values are not text.
func typed(fields []field) script.Row {
	row := make(script.Row, len(fields))
	for i, f := range fields {
		row[i] = script.Field{Name: f.name, Value: value(f)}
	}
	return row
}

// value is a field with its type in the console.
func value(f field) script.Value {
	switch kindOf(f.name) {
	case kindFlag:
		return script.Bool(f.value == "true")
	case kindSize, kindFileSize, kindNumber:
		if n, ok := parseNumber(f.value); ok {
			return script.Number(n)
		}
	}
	return script.Text(f.value)
}

// items returns the .ids, or other names, of what a command is about, for a command of the model.
// ok is false where a find found nothing.
func (c *cli) items(m menu, v script.Value) (items []string, ok bool, err error) {
	if list, isList := v.(script.List); isList {
		for _, v := range list {
			items = append(items, v.String())
		}
	} else {
		items = splitList(v.String())
		if len(items) == 0 {
			return nil, false, errNoItem
		}
	}
	for i, item := range items {
		if items[i], err = c.item(m, item); err != nil {
			return nil, false, err
		}
	}
	return items, len(items) > 0, nil
}

// item resolves a number of the last print, unless there is an item of that name.
func (c *cli) item(m menu, item string) (string, error) {
	n, ok := parseNumber(item)
	if !ok {
		return item, nil
	}
	rows, err := m.list()
	if err != nil {
		return "", err
	}
	ids := c.numbers[m.path]
	for _, row := range rows {
		if name, _ := lookup(row, m.name); name == item {
			return item, nil
		}
		if id, _ := lookup(row, ".id"); c.numbers[m.path] == nil {
			ids = append(ids, id)
		}
	}
	if n >= int64(len(ids)) {
		return "", errNoItem
	}
	return ids[n], nil
}
