// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	_ "embed" // the template
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"
	"time"
)

//go:embed data-path.md.tmpl
var pageTemplate string

// Page makes the page docs/reference/data-path.md: the template's prose, and a table wherever it says {{table "NAME"}}.
// A row whose table the template does not have is an error.
func (told Told) Page() ([]byte, error) {
	shown := map[string]bool{}
	page, err := template.New("data-path.md").Funcs(template.FuncMap{
		"table": func(name string) string { shown[name] = true; return told.table(name) },
	}).Parse(pageTemplate)
	if err != nil {
		return nil, fmt.Errorf("read the page's template: %w", err)
	}
	var text bytes.Buffer
	if err := page.Execute(&text, told); err != nil {
		return nil, fmt.Errorf("write the page: %w", err)
	}
	for _, row := range told.Rows {
		if !shown[row.Table] {
			return nil, fmt.Errorf("the page's template has no table %q, which is to tell that %s", row.Table, row.Event)
		}
	}
	return text.Bytes(), nil
}

// The columns that every table may have, before and behind those of figures.
const (
	columnEvent   = "what happened"
	columnVolume  = "volume"
	columnLinux   = "Linux"
	columnWrites  = "writes"
	columnLongest = "longest write"
	columnErrors  = "errors"
	columnKernel  = "the kernel"
	columnDriver  = "the driver"
)

// table makes the table of a name: what the kernels tell of one volume stands together, and a column that no row fills
// is left out.
func (told Told) table(name string) string {
	var rows []Row
	for _, row := range told.Rows {
		if row.Table == name && !slices.ContainsFunc(rows, row.same) {
			rows = append(rows, told.about(row)...)
		}
	}
	if len(rows) == 0 {
		return "No run has told of this yet."
	}
	columns := columns(rows)
	var text strings.Builder
	line := func(cells []string) { text.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(columns)
	text.WriteString(strings.Repeat("|---", len(columns)) + "|\n")
	for i, row := range rows {
		cells := row.cells()
		// What a row shares with the one above it is not said again.
		if i > 0 && row.Event == rows[i-1].Event {
			cells[columnEvent] = ""
			if row.Volume == rows[i-1].Volume {
				cells[columnVolume] = ""
			}
		}
		var filled []string
		for _, c := range columns {
			filled = append(filled, strings.ReplaceAll(cells[c], "|", `\|`))
		}
		line(filled)
	}
	return strings.TrimSuffix(text.String(), "\n")
}

// about returns the rows of all kernels that are about the same as a row.
func (told Told) about(row Row) []Row {
	var rows []Row
	for _, other := range told.Rows {
		if row.same(other) {
			rows = append(rows, other)
		}
	}
	return rows
}

// columns returns the heads of the columns that rows fill.
func columns(rows []Row) []string {
	all := []string{columnEvent, columnVolume, columnLinux, columnWrites, columnLongest, columnErrors}
	for _, row := range rows {
		for _, f := range row.Figures {
			if !slices.Contains(all, f.Name) {
				all = append(all, f.Name)
			}
		}
	}
	all = append(all, columnKernel, columnDriver)
	return slices.DeleteFunc(all, func(c string) bool {
		return !slices.ContainsFunc(rows, func(r Row) bool { return r.cells()[c] != "" })
	})
}

// cells returns what a row has to say in each column.
func (r Row) cells() map[string]string {
	cells := map[string]string{
		columnEvent: r.Event, columnVolume: r.Volume, columnLinux: r.Linux, columnKernel: r.Kernel, columnDriver: r.Driver,
	}
	for _, f := range r.Figures {
		cells[f.Name] = f.Value
	}
	if w := r.Writes; w != nil {
		cells[columnWrites], cells[columnLongest], cells[columnErrors] = fmt.Sprint(w.Acked), Took(w.Longest), "none"
		if len(w.Errors) > 0 {
			var errs []string
			for _, name := range slices.Sorted(maps.Keys(w.Errors)) {
				errs = append(errs, fmt.Sprintf("%d × %s", w.Errors[name], name))
			}
			cells[columnErrors] = strings.Join(errs, ", ")
		}
	}
	return cells
}

// String is the row on one line, without its empty cells.
func (r Row) String() string {
	cells := r.cells()
	var said []string
	for _, c := range columns([]Row{r}) {
		said = append(said, c+": "+cells[c])
	}
	return strings.Join(said, "; ")
}

// Took is how a Figure says how long something took: what a machine that was busy can mean.
func Took(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Round(10*time.Millisecond).Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
