// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var cellCode = regexp.MustCompile("^`([^`]+)`$")

// documented returns what the first column of the table under a heading of docs/reference.md names.
func documented(t *testing.T, heading string) map[string]bool {
	t.Helper()
	page, err := os.ReadFile("../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n"+heading+"\n")
	if !found {
		t.Fatalf("docs/reference.md has no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n#")
	names := make(map[string]bool)
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		if m := cellCode.FindStringSubmatch(strings.TrimSpace(cells[1])); m != nil {
			names[m[1]] = true
		}
	}
	if len(names) == 0 {
		t.Fatalf("docs/reference.md lists nothing under %q", heading)
	}
	return names
}
