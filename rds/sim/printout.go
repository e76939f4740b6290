// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/rds-csi/rds-csi/rds/sim/script"
)

// runPrint carries out print.
func runPrint(ctx context.Context, c *cli, m menu, call script.Call) (script.Value, error) {
	rows, err := c.rows(ctx, m, call, false)
	if err != nil {
		return nil, err
	}
	if !m.single {
		c.remember(m, rows)
	}
	if call.Has("count-only") {
		n := script.Number(len(rows))
		if !call.Bracketed {
			return script.Nothing{}, c.say(n.String())
		}
		return n, nil
	}
	names := splitList(call.Arg("proplist").String() + call.Arg(".proplist").String())
	if call.Has("as-value") {
		return asValue(rows, names, m.single), nil
	}
	var text string
	switch {
	case m.single:
		text = list(rows[0], names)
	case call.Has("terse"):
		text = m.terse(rows, names)
	case call.Has("detail"):
		text = m.detail(rows, names, c.out.width, c.box.cfg.Switches.HardWrap)
	default:
		text = m.brief(rows, names, c.out.width, c.box.cfg.Switches.HardWrap)
	}
	_, err = io.WriteString(c.out, text)
	return script.Nothing{}, err
}

// remember notes which row a print gave which number.
func (c *cli) remember(m menu, rows []script.Row) {
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.Get(".id").String()
	}
	c.numbers[m.path] = ids
}

// choose returns the properties of a row that a proplist names, in the row's order; none names all
// but the .id.
func choose(r script.Row, names []string) script.Row {
	return slices.DeleteFunc(slices.Clone(r), func(f script.Field) bool {
		return len(names) == 0 && f.Name == ".id" || len(names) > 0 && !slices.Contains(names, f.Name)
	})
}

// asValue is what print as-value gives: exact values.
func asValue(rows []script.Row, names []string, single bool) script.Value {
	values := make(script.List, len(rows))
	for i, r := range rows {
		if len(names) > 0 {
			r = slices.DeleteFunc(slices.Clone(r), func(f script.Field) bool {
				return f.Name != ".id" && !slices.Contains(names, f.Name)
			})
		}
		values[i] = r
	}
	if single && len(values) == 1 {
		return values[0]
	}
	return values
}

// list prints a row with a property on each line.
func list(r script.Row, names []string) string {
	var b strings.Builder
	width := 0
	for _, f := range r {
		width = max(width, len(f.Name))
	}
	for _, f := range choose(r, names) {
		_, _ = fmt.Fprintf(&b, "  %*s: %s\n", width, f.Name, shown(f)) // a Builder does not fail
	}
	return b.String()
}

// terse prints a row on each line.
func (m menu) terse(rows []script.Row, names []string) string {
	var b strings.Builder
	for i, r := range rows {
		_, _ = fmt.Fprintf(&b, "%2d %-*s", i, len(m.flags), m.letters(r))
		for _, f := range m.visible(r, names) {
			b.WriteString(" " + f.Name + "=" + shown(f))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// visible are the properties that print detail and terse show: flags of the row itself are letters.
func (m menu) visible(r script.Row, names []string) script.Row {
	return slices.DeleteFunc(choose(r, names), func(f script.Field) bool {
		return len(names) == 0 && (f.Name == "mounted" || f.Name == "disabled")
	})
}

// detail prints every property of each row.
func (m menu) detail(rows []script.Row, names []string, width int, hard bool) string {
	const indent = 6
	var b strings.Builder
	b.WriteString(m.legend(rows, width, indent, hard))
	for i, r := range rows {
		line := fmt.Sprintf("%2d %-*s", i, max(2, len(m.letters(r))), m.letters(r))
		comment := r.Get("comment").String()
		if comment != "" && (len(names) == 0 || slices.Contains(names, "comment")) {
			b.WriteString(wrap(line+" ;;; "+comment, width, indent, hard))
			line = strings.Repeat(" ", indent-1)
		}
		for _, f := range m.visible(r, names) {
			if f.Name != "comment" {
				line += " " + assigned(f)
			}
		}
		b.WriteString(wrap(line, width, indent, hard))
		if i < len(rows)-1 {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// brief prints the rows as a table.
func (m menu) brief(rows []script.Row, names []string, width int, hard bool) string {
	columns := m.columns
	if len(names) > 0 {
		columns = names
	}
	columns = slices.DeleteFunc(slices.Clone(columns), func(name string) bool {
		return !slices.ContainsFunc(rows, func(r script.Row) bool { return r.Get(name) != script.Value(script.Nothing{}) })
	})
	cells := [][]string{append([]string{"#", ""}, upper(columns)...)}
	for i, r := range rows {
		line := []string{strconv.Itoa(i), m.letters(r)}
		for _, name := range columns {
			line = append(line, shown(script.Field{Name: name, Value: r.Get(name)}))
		}
		cells = append(cells, line)
	}
	widths := make([]int, len(columns)+2)
	for _, line := range cells {
		for i, cell := range line {
			widths[i] = max(widths[i], len(cell))
		}
	}
	var b strings.Builder
	b.WriteString(m.legend(rows, width, 0, hard))
	if len(rows) == 0 {
		return b.String()
	}
	b.WriteString(wrap("Columns: "+strings.Join(upper(columns), ", "), width, 0, hard))
	for _, line := range cells {
		text := ""
		for i, cell := range line {
			text += fmt.Sprintf("%-*s  ", widths[i], cell)
		}
		b.WriteString(wrap(strings.TrimRight(text, " "), width, 0, hard))
	}
	return b.String()
}

func upper(names []string) []string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = strings.ToUpper(name)
	}
	return list
}
