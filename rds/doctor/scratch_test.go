// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

const (
	testRun  = "850ac42f-dded-4f9b-a5df-ab81bbcad901"
	testTag  = "ab81bbcad901"
	testName = "rdscsi-doctor-" + testTag + "-03"
)

func scratchTestRow(changes ...string) routeros.Row {
	row := routeros.Row{"=.id=*5", "=type=file", "=slot=" + testName, "=comment=rdscsi-doctor/" + testRun, "=file-path=/raid10/" + testName + ".img"}
	for _, c := range changes {
		row = append(row, "="+c) // of several of a name the last one counts
	}
	return row
}

func TestScratchOf(t *testing.T) {
	tests := map[string]struct {
		changes []string
		is      bool
	}{
		"as it was made":              {nil, true},
		"a path without a slash":      {[]string{"file-path=raid10/" + testName + ".img"}, true},
		"behind the mark":             {[]string{"comment=rdscsi-doctor/" + testRun + "/xxx9"}, true},
		"a renamed slot":              {[]string{"slot=" + testName + "-1"}, true},
		"a long slot":                 {[]string{"slot=" + testName + strings.Repeat("x", 200)}, true},
		"a directory of its own":      {[]string{"file-path=/raid10/rdscsi-doctor-" + testTag + "-04/" + testName + ".img"}, true},
		"another type":                {[]string{"type=raid"}, false},
		"no comment":                  {[]string{"comment="}, false},
		"something before the mark":   {[]string{"comment=x rdscsi-doctor/" + testRun}, false},
		"something stuck to the mark": {[]string{"comment=rdscsi-doctor/" + testRun + "0"}, false},
		"words behind the mark":       {[]string{"comment=rdscsi-doctor/" + testRun + "/my disk"}, false},
		"a ledger":                    {[]string{"comment=rds-csi.1/0123456789ab/g1"}, false},
		"the mark of another run":     {[]string{"comment=rdscsi-doctor/850ac42f-dded-4f9b-a5df-ab81bbcad902"}, false},
		"the slot of another run":     {[]string{"slot=rdscsi-doctor-ab81bbcad902-03"}, false},
		"the file of another run":     {[]string{"file-path=/raid10/rdscsi-doctor-ab81bbcad902-03.img"}, false},
		"a slot of a person's":        {[]string{"slot=vm-storage"}, false},
		"a volume's file":             {[]string{"file-path=/raid10/pvc-" + testRun + ".img"}, false},
		"no image":                    {[]string{"file-path=/raid10/" + testName}, false},
		"elsewhere":                   {[]string{"file-path=/raid1/" + testName + ".img"}, false},
		"below the path":              {[]string{"file-path=/raid10/vms/" + testName + ".img"}, false},
		"out of the path":             {[]string{"file-path=/raid10/../" + testName + ".img"}, false},
		"deep below":                  {[]string{"file-path=/raid10/" + testName + "/" + testName + "/" + testName + ".img"}, false},
	}
	for name, tt := range tests {
		if s, is := scratchOf(scratchTestRow(tt.changes...), []string{"/raid10", "/other"}); is != tt.is {
			t.Errorf("%s: %v, want %v: %+v", name, is, tt.is, s)
		}
	}
}

func TestNamesOfARun(t *testing.T) {
	run := uuid.MustParse(testRun)
	b := bench{run: run, made: 98}
	for range 3 {
		if name := b.name(); nameTag(name) != tagOf(run) || len(name) > slotLimit {
			t.Errorf("name %q", name)
		}
	}
	if m := markForm.FindStringSubmatch(markOf(run)); m == nil || m[1] != testRun {
		t.Errorf("mark %q", markOf(run))
	}
}
