// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rds-csi/rds-csi/rds/sim/script"
)

// A kind is how the console shows a property.
type propertyKind int

const (
	kindPlain    propertyKind = iota
	kindQuoted                // slot="vm-1"
	kindFlag                  // yes and no
	kindNumber                // 512
	kindSize                  // 1 099 511 627 776
	kindFileSize              // 1024.0GiB
)

// kindOf tells how the console shows a property.
func kindOf(name string) propertyKind {
	switch name {
	case "slot", "slot-default", "parent", "model", "nvme-tcp-server-nqn", "nvme-tcp-server-allow-host-name",
		"nvme-tcp-server-password", "mount-point", "state", "comment", "name", "version", "address", "scheduled":
		return kindQuoted
	case "mount-filesystem", "mounted", "nvme-tcp-export", "disabled", "available", "invalid":
		return kindFlag
	case "size", "free":
		return kindSize
	case "file-size":
		return kindFileSize
	case "sector-size", "nvme-tcp-server-port", "file-offset", "raid-type", "raid-device-count", "port", "max-sessions":
		return kindNumber
	}
	if slices.Contains(inert[:], name) {
		return kindFlag
	}
	return kindPlain
}

// shown is a value as print shows it, without quotes.
func shown(f script.Field) string {
	switch v := f.Value.(type) {
	case script.Bool:
		if v {
			return "yes"
		}
		return "no"
	case script.Number:
		switch kindOf(f.Name) {
		case kindSize:
			return spaced(int64(v))
		case kindFileSize:
			return binarySize(int64(v))
		}
	}
	return f.Value.String()
}

// quote is a text in quotes, as the console would take it.
var quote = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "\n", `\n`, "\r", `\r`, "\t", `\t`)

// assigned is a property as print detail shows it.
func assigned(f script.Field) string {
	text := shown(f)
	if kindOf(f.Name) == kindQuoted {
		text = `"` + quote.Replace(text) + `"`
	}
	return f.Name + "=" + text
}

// spaced writes a number with spaces between thousands.
func spaced(n int64) string {
	digits := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// binarySize writes a size in the largest unit that leaves more than one, and less than a TiB in GiB.
func binarySize(n int64) string {
	units := []string{"KiB", "MiB", "GiB"}
	v, unit := float64(n), ""
	for _, u := range units {
		if v <= 1024 && unit != "" || n < 1024 {
			break
		}
		v, unit = v/1024, u
	}
	if unit == "" {
		return strconv.FormatInt(n, 10)
	}
	return fmt.Sprintf("%.1f%s", v, unit)
}

// A rowFlag is a letter in front of a row.
type rowFlag struct {
	letter   byte
	name     string
	property string
	is       string // what the property is where the flag is set; empty: true
}

// diskFlags are the flags of /disk.
var diskFlags = []rowFlag{
	{'X', "DISABLED", "disabled", ""},
	{'B', "BLOCK-DEVICE", "disabled", "false"},
	{'M', "MOUNTED", "mounted", ""},
	{'t', "NVME-TCP-EXPORT", "nvme-tcp-export", ""},
}

// set reports whether a row has a flag.
func (f rowFlag) set(r script.Row) bool {
	want := f.is
	if want == "" {
		want = "true"
	}
	return r.Get(f.property).String() == want
}

// letters are the flags of a row.
func (m menu) letters(r script.Row) string {
	var b strings.Builder
	for _, f := range m.flags {
		if f.set(r) {
			b.WriteByte(f.letter)
		}
	}
	return b.String()
}

// legend is the first line of a print of a menu with flags, which is there even without rows.
func (m menu) legend(rows []script.Row, width, indent int, hard bool) string {
	var list []string
	for _, f := range m.flags {
		if len(rows) == 0 && f.letter != 'X' || slices.ContainsFunc(rows, f.set) {
			list = append(list, string(f.letter)+" - "+f.name)
		}
	}
	if len(list) == 0 {
		return ""
	}
	return wrap("Flags: "+strings.Join(list, "; "), width, indent, hard)
}

// wrap breaks a line that is wider than a terminal. What follows is indented. A width of 0 breaks
// nothing. It breaks at the last space that fits, which may be one in a value, or, where there is
// none or hard is true, exactly at the last column.
func wrap(line string, width, indent int, hard bool) string {
	indent = min(indent, width/2)
	var b strings.Builder
	for width > 0 && len(line) > width {
		at := strings.LastIndexByte(line[:width+1], ' ')
		if hard || strings.TrimSpace(line[:max(at, 0)]) == "" {
			b.WriteString(line[:width])
			line = strings.Repeat(" ", indent) + line[width:]
		} else {
			b.WriteString(line[:at])
			line = strings.Repeat(" ", indent) + line[at+1:]
		}
		b.WriteByte('\n')
	}
	return b.String() + line + "\n"
}
