// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// FuzzParseOutput reads any output, which tells no more answers than there are statements.
func FuzzParseOutput(f *testing.F) {
	for _, width := range []int{0, 80} {
		out, _ := story(width)
		f.Add(out)
		f.Add(out[:len(out)/2])
	}
	f.Fuzz(func(t *testing.T, out string) {
		const n = 6
		got := parseOutput(out, testNonce, n)
		if len(got.answers) != n {
			t.Fatalf("%d answers", len(got.answers))
		}
		last := -1
		for i, a := range got.answers {
			if a.outcome != open {
				if last != i-1 {
					t.Fatalf("statement %d is answered before %d", i, i-1)
				}
				last = i
			}
		}
		if got.whole && (last != n-1 || got.err != nil) {
			t.Fatalf("whole, and %d answers are told: %v", last+1, got.err)
		}
	})
}

// FuzzParseWrapped prints a row whose values hold anything, breaks its lines at a width and cuts it off.
// What is read is the row, or an error.
func FuzzParseWrapped(f *testing.F) {
	f.Add("/raid10/vm-storage-001.img", "rds-csi.1/c:0123456789ab/g:1", uint16(80), uint16(9999))
	f.Add("a\r\nb", "@0123abcd:end;1;", uint16(0), uint16(9999))
	f.Add(strings.Repeat("=", 400), ";;;\n", uint16(301), uint16(500))
	f.Fuzz(func(t *testing.T, path, comment string, width, cut uint16) {
		if strings.Contains(path+comment, testNonce) {
			t.Skip("no value holds a nonce")
		}
		row := routeros.Row{"=a=1", "=file-path=" + path, "=comment=" + comment}
		out := printed(int(width), ruler(testNonce), rowLine(0, row), okLine(0, "1"), ending(testNonce, 1))
		out = out[:min(len(out), int(cut))]
		got := parseOutput(out, testNonce, 1)
		if a := got.answers[0]; a.outcome == ok && a.stray == "" && a.text == "1" && !reflect.DeepEqual(a.rows, []routeros.Row{row}) {
			// A value with a break of its own, where the console breaks lines too, is joined.
			if strings.ContainsAny(path+comment, "\r\n") {
				t.Skip("a line break of the value's own")
			}
			t.Fatalf("row %q, want %q", a.rows, row)
		}
		if complete := int(cut) > len(out) && (width == 0 || width >= minWidth && width < rulerWidth); complete && !strings.ContainsAny(path+comment, "\r\n") && !got.whole {
			t.Fatalf("complete output is not read: %v\n%q", got.err, out)
		}
	})
}

// FuzzParsePrint reads any print: rows in order with their properties, or one of its errors.
func FuzzParsePrint(f *testing.F) {
	f.Add("Flags: B - BLOCK-DEVICE\r\n31 Bt type=file slot=\"a\" size=1 099 511 627 776\r\n      file-size=1024.0GiB\r\n")
	f.Add(" 0 ;;; c\r\n   name=\"\\3B\"\r\n\r\n 1 X name=b\r\n")
	f.Add(strings.Repeat(" 0 slot=aaaaaaaaaa", 9) + "\r\n")
	f.Fuzz(func(t *testing.T, out string) {
		rows, err := ParsePrint(out)
		checkParsed(t, len(rows), err)
		for i, r := range rows {
			if len(r.Row) == 0 || i > 0 && rows[i-1].Number >= r.Number {
				t.Fatalf("row %d is %+v", i, r)
			}
		}
	})
}

// FuzzParseAsValue reads any values: rows that begin with an .id, or one of its errors.
func FuzzParseAsValue(f *testing.F) {
	f.Add(".id=*1;size=16003143565312;.id=*2;comment=a=b\r\n")
	f.Add(printed(80, ".id=*1;comment="+strings.Repeat("a", 100)))
	f.Fuzz(func(t *testing.T, out string) {
		rows, err := ParseAsValue(out)
		checkParsed(t, len(rows), err)
		for i, r := range rows {
			if _, found := r[".id"]; !found {
				t.Fatalf("row %d is %q", i, r)
			}
		}
	})
}

func checkParsed(t *testing.T, rows int, err error) {
	t.Helper()
	var trap *routeros.Trap
	if err != nil && (rows > 0 || !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTruncated) && !errors.As(err, &trap)) {
		t.Fatalf("%d rows and %v", rows, err)
	}
}
