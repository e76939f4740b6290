// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"time"
)

// A field is a property of a row as the API shows it.
type field struct{ name, value string }

func lookup(fields []field, name string) (string, bool) {
	for _, f := range fields {
		if f.name == name {
			return f.value, true
		}
	}
	return "", false
}

// only returns the fields that a .proplist names, in the row's order; nil names all.
func only(fields []field, proplist []string) []field {
	if proplist == nil {
		return fields
	}
	return slices.DeleteFunc(fields, func(f field) bool { return !slices.Contains(proplist, f.name) })
}

// flag is how the API writes a truth value.
func flag(b bool) string { return strconv.FormatBool(b) }

func number(n int64) string { return strconv.FormatInt(n, 10) }

// fields returns the row of a disk. Sizes are exact bytes.
func (d disk) fields(sw Switches) []field {
	row := make([]field, 0, 28)
	row = append(row, field{".id", d.ID.String()}, field{"type", "file"}, field{"slot", d.Slot})
	if d.Comment != "" {
		row = append(row, field{"comment", d.Comment})
	}
	row = append(row,
		field{"slot-default", ""},
		field{"parent", ""},
		field{"fs", "-"},
		field{"model", "/" + d.File},
		field{"size", number(d.bytes())},
		field{"mount-filesystem", flag(d.MountFilesystem)},
		field{"mounted", "false"},
		field{"sector-size", "512"},
		field{"raid-master", "none"},
		field{"nvme-tcp-export", flag(d.Export)},
	)
	row = append(row, d.exportFields(sw)...)
	for i, name := range inert {
		row = append(row, field{name, flag(d.Inert[i])})
	}
	return append(row,
		field{"file-path", "/" + d.File},
		field{"file-size", number(d.Size)},
		field{"file-offset", number(d.Offset)},
		field{"disabled", flag(d.Disabled)},
	)
}

// exportFields are the properties of an export. A row that is not exported shows those that were
// set.
func (d disk) exportFields(sw Switches) []field {
	if !d.Export && sw.HideExport {
		return nil
	}
	var row []field
	if d.Export || d.Port != 0 {
		row = append(row, field{"nvme-tcp-server-port", strconv.Itoa(int(d.port()))})
	}
	if d.Export || d.NQN != "" {
		row = append(row, field{"nvme-tcp-server-nqn", d.nqn(sw)})
	}
	if d.Export || d.AllowHost != "" {
		row = append(row, field{"nvme-tcp-server-allow-host-name", d.AllowHost})
	}
	if d.Password != "" {
		row = append(row, field{"nvme-tcp-server-password", d.Password})
	}
	return row
}

// poolFields returns the row of the pool.
func (t table) poolFields(p pool, state string) []field {
	use := int64(0)
	if p.capacity > 0 {
		use = int64(float64(p.capacity-t.free(p)) / float64(p.capacity) * 100)
	}
	return []field{
		{".id", poolID.String()},
		{"type", "raid"},
		{"slot", p.name},
		{"slot-default", ""},
		{"parent", ""},
		{"fs", p.filesystem},
		{"size", number(p.capacity)},
		{"free", number(t.free(p))},
		{"use", number(use) + "%"},
		{"mount-filesystem", "true"},
		{"mounted", "true"},
		{"mount-point", p.name},
		{"raid-type", "10"},
		{"raid-device-count", "4"},
		{"state", state},
		{"nvme-tcp-export", "false"},
		{"disabled", "false"},
	}
}

// fileFields returns the row of /file for an entry of the host's directory. The .id of a file is
// not known to stay the same; here it does, as it is made of the name.
func fileFields(name string, info fs.FileInfo) []field {
	h := fnv.New32a()
	_, _ = io.WriteString(h, name) // a hash does not fail
	row := []field{{".id", diskID(h.Sum32()).String()}, {"name", name}}
	if info.IsDir() {
		row = append(row, field{"type", "directory"})
	} else {
		row = append(row, field{"type", "file"}, field{"size", number(info.Size())})
	}
	return append(row, field{"last-modified", info.ModTime().UTC().Format(time.DateTime)})
}

// uptime writes a duration as RouterOS does: 1w2d3h4m5s, without the parts that are zero.
func uptime(d time.Duration) string {
	s := int64(d / time.Second)
	text := ""
	for _, part := range []struct {
		seconds int64
		unit    string
	}{{7 * 24 * 3600, "w"}, {24 * 3600, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}} {
		if n := s / part.seconds; n > 0 || part.unit == "s" && text == "" {
			text += fmt.Sprintf("%d%s", n, part.unit)
		}
		s %= part.seconds
	}
	return text
}
