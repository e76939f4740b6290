// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

func golden(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\n", "\r\n")
}

// fileDisk is the row of testdata/detail.txt.
var fileDisk = map[string]string{
	"type": "file", "slot": "vm-storage-001", "slot-default": "", "parent": "", "fs": "-", "model": "/raid10/vm-storage-001.img",
	"size": "1099511627776", "mount-filesystem": "no", "mount-read-only": "no", "compress": "no", "sector-size": "512",
	"raid-master": "none", "nvme-tcp-export": "yes", "nvme-tcp-server-port": "4420",
	"nvme-tcp-server-nqn": "nqn.2026-09.com.mikrotik:rds2216.vm-storage-001", "nvme-tcp-server-allow-host-name": "",
	"iscsi-export": "no", "nfs-sharing": "no", "smb-sharing": "no", "media-sharing": "no", "media-interface": "none", "swap": "no",
	"file-path": "/raid10/vm-storage-001.img", "file-size": "1024.0GiB", "file-offset": "0",
}

// What RDS2216 printed on 7.24.4, on a wide terminal, and broken at 80 columns as over SSH without a pty.
func TestParsePrintOfARealBox(t *testing.T) {
	out := golden(t, "detail.txt")
	var flat []string // each row and its indented lines in one, as the console has them before it breaks them
	for _, l := range strings.Split(strings.TrimSuffix(out, "\r\n"), "\r\n") {
		if n := len(flat); n > 0 && strings.HasPrefix(l, "      ") {
			flat[n-1] += " " + strings.TrimSpace(l)
		} else {
			flat = append(flat, l)
		}
	}
	for name, text := range map[string]string{"wide": out, "80 columns": printed(80, flat...), "line feeds": strings.ReplaceAll(out, "\r\n", "\n")} {
		rows, err := ParsePrint(text)
		if err != nil || len(rows) != 2 {
			t.Errorf("%s: %d rows, %v", name, len(rows), err)
			continue
		}
		pool := rows[0]
		if pool.Number != 26 || pool.Flags != "BM" || pool.Row["size"] != "16003143565312" || pool.Row["free"] != "14789895307264" ||
			pool.Row["state"] != "clean, sync:repair" || pool.Row["use"] != "8%" {
			t.Errorf("%s: pool %+v", name, pool)
		}
		if disk := rows[1]; disk.Number != 31 || disk.Flags != "Bt" || !reflect.DeepEqual(disk.Row, fileDisk) {
			t.Errorf("%s: disk %+v", name, disk)
		}
	}
}

func TestParsePrint(t *testing.T) {
	const flags = "Flags: B - BLOCK-DEVICE; t - NVME-TCP-EXPORT\r\n"
	for _, tt := range []struct {
		name, out string
		want      []Printed
	}{
		{"nothing", "", nil},
		{"a header without rows", flags, nil},
		{"a header and a blank line", flags + "\r\n", nil},
		{"a header in two lines", "Flags: X - disabled, I - invalid,\r\nD - dynamic\r\n 0 X  name=a\r\n", []Printed{{0, "X", map[string]string{"name": "a"}}}},
		{"terse", " 0 Bt type=file slot=a size=1 024\r\n 1 Bt type=file slot=b size=512\r\n", []Printed{
			{0, "Bt", map[string]string{"type": "file", "slot": "a", "size": "1024"}},
			{1, "Bt", map[string]string{"type": "file", "slot": "b", "size": "512"}},
		}},
		{"a comment", flags + " 7 Bt ;;; rds-csi.1/c:x; and=more\r\n      type=file slot=\"a\"\r\n\r\n", []Printed{
			{7, "Bt", map[string]string{"comment": "rds-csi.1/c:x; and=more", "type": "file", "slot": "a"}},
		}},
		{"escapes", ` 0 name="a\"b\\c\$d\nE\_F\3B\?" size=0` + "\r\n", []Printed{{0, "", map[string]string{"name": "a\"b\\c$d\nE F;?", "size": "0"}}}},
		{"indented lines that break values", " 0   ;;;\r\n      " + strings.Repeat("c", 74) + "\r\n      dd\r\n      " + `name="` + strings.Repeat("n", 68) + "\r\n      m\" " + "path=" + strings.Repeat("p", 66) + "\r\n      q size=1 073 741\r\n      824\r\n", []Printed{
			{0, "", map[string]string{"comment": strings.Repeat("c", 74) + "dd", "name": strings.Repeat("n", 68) + "m", "path": strings.Repeat("p", 66) + "q", "size": "1073741824"}},
		}},
		{"a number that ends", " 0 a=1 024 b=1\r\n", []Printed{{0, "", map[string]string{"a": "1024", "b": "1"}}}},
	} {
		got, err := ParsePrint(tt.out)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
	long := strings.Repeat("c", 80-len(" 0 ;;; "))
	for name, out := range map[string]string{
		"cut off":                       flags + " 0 type=file slo",
		"a quote that stays open":       " 0 slot=\"a\r\n",
		"text after a quote":            " 0 slot=\"a\"b\r\n",
		"a quote in a value":            " 0 slot=a\"b\r\n",
		"an unknown escape":             ` 0 slot="\z"` + "\r\n",
		"a value with a space":          " 0 slot=a b size=1\r\n",
		"a group of two digits":         " 0 size=1 02 slot=a\r\n",
		"a group of four digits":        " 0 size=1 0245 slot=a\r\n",
		"a property twice":              " 0 slot=a slot=b\r\n",
		"a row without properties":      " 0 B\r\n",
		"a comment alone":               " 0 ;;; what\r\n",
		"a comment to the last column":  " 0 ;;; " + long + "\r\n     slot=a\r\n\r\n 1 slot=b\r\n",
		"a control character":           " 0 slot=a\x01b\r\n",
		"a table":                       "Columns: SLOT, SIZE\r\n#  SLOT  SIZE\r\n0  a     512\r\n",
		"rows out of order":             " 1 slot=a\r\n 0 slot=b\r\n",
		"a pager":                       " 0 slot=a\r\n-- [Q quit|D dump|down]\r\n",
		"no print":                      "hello\r\n",
		"a number of a row and no more": "0\r\n",
	} {
		if got, err := ParsePrint(out); err == nil || !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTruncated) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	var trap *routeros.Trap
	if _, err := ParsePrint("bad command name dsk (line 1 column 2)\r\n"); !errors.As(err, &trap) || trap.Category != routeros.CategoryMissing {
		t.Errorf("an error of the console: %v", err)
	}
}

func TestParseAsValue(t *testing.T) {
	const text = ".id=*1;size=16003143565312;slot=raid10;.id=*2;comment=;nvme-tcp-server-nqn=nqn.2026-09.com.mikrotik:rds2216.vm-storage-001;x=a=b"
	want := []map[string]string{
		{".id": "*1", "size": "16003143565312", "slot": "raid10"},
		{".id": "*2", "comment": "", "nvme-tcp-server-nqn": "nqn.2026-09.com.mikrotik:rds2216.vm-storage-001", "x": "a=b"},
	}
	for _, out := range []string{text + "\r\n", text + "\n", printed(80, text), printed(80, text) + "\r\n"} {
		if got, err := ParseAsValue(out); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, %v", out, got, err)
		}
	}
	for _, out := range []string{"", "\r\n"} {
		if got, err := ParseAsValue(out); err != nil || got != nil {
			t.Errorf("%q: %q, %v", out, got, err)
		}
	}
	for name, out := range map[string]string{
		"cut off":          text,
		"no .id":           "slot=a\r\n",
		"a semicolon":      ".id=*1;comment=a;b\r\n",
		"a property twice": ".id=*1;slot=a;slot=b\r\n",
		"two lines":        ".id=*1;slot=a\r\n.id=*2;slot=b\r\n",
		"two lines broken": ".id=*1;comment=" + strings.Repeat("a", 100) + "\r\nb\r\n",
	} {
		if got, err := ParseAsValue(out); !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTruncated) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	var trap *routeros.Trap
	if _, err := ParseAsValue("no such item\r\n"); !errors.As(err, &trap) {
		t.Errorf("an error of the console: %v", err)
	}
}
