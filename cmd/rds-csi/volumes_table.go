// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// table writes a line for each volume, and below it one for each of its nodes.
func table(w io.Writer, list []report, now time.Time) error {
	rows := [][]string{{"VOLUME", "CLAIM", "SIZE", "ACCESS", "FENCING", "EXPORT", "VERDICT"}}
	for _, r := range list {
		rows = append(rows, []string{
			string(r.Volume), dash(r.Claim), size(r.Bytes), dash(r.Access), dash(r.Fencing), exportOf(r), r.Verdict,
		})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row[:len(row)-1] { // the last is as wide as it is
			widths[i] = max(widths[i], len(cell))
		}
	}
	var b strings.Builder
	for n, row := range rows {
		for i, cell := range row {
			fmt.Fprintf(&b, "%-*s", widths[i], cell)
			if i < len(row)-1 {
				b.WriteString("  ")
			}
		}
		b.WriteByte('\n')
		if n > 0 {
			list[n-1].details(&b, now)
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

// details writes what has no room in a volume's line.
func (r report) details(b *strings.Builder, now time.Time) {
	for _, n := range r.Nodes {
		fmt.Fprintf(b, "    %s", n.Node)
		if n.Role != "" {
			fmt.Fprintf(b, " (%s)", n.Role)
		}
		if n.Granted == nil {
			b.WriteString(": not granted")
		} else {
			fmt.Fprintf(b, ": granted %s, %s ago", n.Granted.Format(time.RFC3339), now.Sub(*n.Granted).Round(time.Second))
		}
		if n.Attachment != "" {
			fmt.Fprintf(b, "; VolumeAttachment %s", n.Attachment)
		}
		b.WriteByte('\n')
	}
	if r.Export && r.NQN != "" {
		fmt.Fprintf(b, "    as %s\n", r.NQN)
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func exportOf(r report) string {
	switch {
	case r.Port == 0 && !r.Export:
		return "off"
	case !r.Export:
		return fmt.Sprintf("off :%d", r.Port)
	}
	return fmt.Sprintf("on :%d", r.Port)
}

// size returns a number of bytes for people, exact where that is short.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	u := 0
	for n != 0 && n%1024 == 0 && u < len(units)-1 {
		n, u = n/1024, u+1
	}
	if n < 10000 || u == len(units)-1 {
		return fmt.Sprintf("%d %s", n, units[u])
	}
	f := float64(n)
	for f >= 1024 && u < len(units)-1 {
		f, u = f/1024, u+1
	}
	return fmt.Sprintf("~%.1f %s", f, units[u])
}
