// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
)

// A handler carries out one command: run where the answer is made at once, listen where it grows
// with the changes that a watcher is told, until the command is cancelled.
type handler struct {
	run     func(ctx context.Context, c Command) (reply, error)
	listen  func(ctx context.Context, c Command, w *watcher, a *answer) error
	changes bool // the command changes the box, and goes on without its connection
	free    bool // the command takes no service time
}

// A reply is what a command answers.
type reply struct {
	rows  [][]field
	empty bool
	done  []field // attributes of the last sentence
}

// unknownCommand is what commands that the box does not know count as.
const unknownCommand = "unknown"

// commands returns what the box can do.
func (b *boot) commands() map[string]handler {
	disks := b.print(b.diskRows)
	commands := map[string]handler{
		"/disk/add":    {run: b.diskAdd, changes: true},
		"/disk/set":    {run: b.diskSet, changes: true},
		"/disk/remove": {run: b.diskRemove, changes: true},
		"/disk/print":  {run: disks},
		"/disk/getall": {run: disks},
		"/disk/listen": {listen: b.diskListen},
		"/file/add":    {run: b.fileAdd, changes: true},
		"/file/remove": {run: b.fileRemove, changes: true},
		"/file/print":  {run: b.print(b.fileRows)},
		"/file/getall": {run: b.print(b.fileRows)},
	}
	for _, m := range b.systemMenus() {
		commands[m.path+"/print"] = handler{run: b.print(m.list)}
		commands[m.path+"/getall"] = handler{run: b.print(m.list)}
	}
	return commands
}

// print makes the run of a print command of what lists a menu's rows.
func (b *boot) print(list func() ([][]field, error)) func(context.Context, Command) (reply, error) {
	return func(_ context.Context, c Command) (reply, error) {
		countOnly := false
		for _, a := range c.Args {
			switch a.Name {
			case "count-only":
				countOnly = true
			case "detail", "brief", "terse", "without-paging", "as-value", "show-ids":
			default:
				return reply{}, errParameter
			}
		}
		q, err := checkQuery(c.queries)
		if err != nil {
			return reply{}, err
		}
		rows, err := list()
		if err != nil {
			return reply{}, err
		}
		rows = slices.DeleteFunc(rows, func(row []field) bool {
			ok, err := q.match(row)
			return !ok || err != nil // no error: the query was checked
		})
		if countOnly {
			return reply{done: []field{{"ret", strconv.Itoa(len(rows))}}}, nil
		}
		for i := range rows {
			rows[i] = only(rows[i], c.proplist)
		}
		return reply{rows: rows, empty: len(rows) == 0}, nil
	}
}

func (b *boot) diskRows() ([][]field, error) {
	t := b.machine.table()
	rows := make([][]field, 0, len(t.disks)+1)
	if !t.noPool() {
		rows = append(rows, t.poolFields(b.machine.pool, b.poolState()))
	}
	for _, d := range t.disks {
		if !t.hidden(d, b.cfg.Switches) {
			rows = append(rows, d.fields(b.cfg.Switches))
		}
	}
	return rows, nil
}

func (b *boot) fileRows() (rows [][]field, err error) {
	if b.machine.table().noPool() {
		return nil, nil
	}
	err = b.machine.store.walk(func(name string, info fs.FileInfo) {
		rows = append(rows, fileFields(name, info))
	})
	return rows, err
}

func (b *boot) diskAdd(ctx context.Context, c Command) (reply, error) {
	var id diskID
	err := b.machine.change(ctx, func(t table) (next table, err error) {
		if err := t.knows(c.Args); err != nil {
			return t, err
		}
		next, id, err = t.add(c.Args, b.machine.pool)
		return next, err
	})
	return reply{done: []field{{"ret", id.String()}}}, err
}

func (b *boot) diskSet(ctx context.Context, c Command) (reply, error) {
	items, err := c.items()
	if err != nil {
		return reply{}, err
	}
	return reply{}, b.machine.change(ctx, func(t table) (table, error) {
		if err := t.knows(c.Args); err != nil {
			return t, err
		}
		return t.set(items, c.Args, b.machine.pool)
	})
}

func (b *boot) diskRemove(ctx context.Context, c Command) (reply, error) {
	items, err := c.onlyItems()
	if err != nil {
		return reply{}, err
	}
	return reply{}, b.machine.change(ctx, func(t table) (table, error) {
		return t.remove(items, b.machine.pool)
	})
}

func (b *boot) fileRemove(ctx context.Context, c Command) (reply, error) {
	items, err := c.onlyItems()
	if err != nil {
		return reply{}, err
	}
	return reply{}, b.machine.change(ctx, func(t table) (table, error) {
		return t.removeFiles(items, b.machine.pool)
	})
}

func (b *boot) fileAdd(ctx context.Context, c Command) (reply, error) {
	name, _ := c.take("name")
	kind, _ := c.take("type")
	switch {
	case len(c.Args) > 0:
		return reply{}, errParameter
	case name == "":
		return reply{}, missing("name")
	case kind != "directory":
		return reply{}, failure("the simulated box makes directories only")
	}
	return reply{}, b.machine.change(ctx, func(t table) (table, error) {
		return t.addDirectory(name, b.machine.pool)
	})
}

// items takes from a command what says which items it is about.
func (c *Command) items() (string, error) {
	for _, name := range []string{".id", "numbers"} {
		if items, ok := c.take(name); ok {
			return items, nil
		}
	}
	return "", missing(".id")
}

// onlyItems is items for a command that takes nothing else.
func (c *Command) onlyItems() (string, error) {
	items, err := c.items()
	if err == nil && len(c.Args) > 0 {
		err = errParameter
	}
	return items, err
}

// diskListen tells each change of a disk until the command is cancelled.
func (b *boot) diskListen(ctx context.Context, c Command, w *watcher, a *answer) error {
	if len(c.Args) > 0 {
		return errParameter
	}
	for {
		select {
		case <-w.wake:
		case <-ctx.Done():
			return fmt.Errorf("listen: %w", ctx.Err())
		}
		for _, ch := range w.take() {
			if ch.next == (disk{}) {
				a.re([]field{{".id", ch.id().String()}, {".dead", "yes"}})
			} else {
				a.re(only(ch.next.fields(b.cfg.Switches), c.proplist))
			}
		}
		a.flush()
	}
}
