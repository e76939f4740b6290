// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
	ws, err := parse([]string{"disk", "size=1Gi", "count=3", "more"}, 1, "size", "count")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(ws.plain, []string{"disk", "more"}) || ws.or("size", "x") != "1Gi" || ws.or("class", "x") != "x" {
		t.Errorf("parsed %+v", ws)
	}
	if names, err := ws.names("disk"); err != nil || !slices.Equal(names, []string{"disk-0", "disk-1", "disk-2"}) {
		t.Errorf("names %q, %v", names, err)
	}
}

// A word that is misspelt does not pass for one that is not given.
func TestParseRefuses(t *testing.T) {
	for name, args := range map[string][]string{
		"a key that is unknown": {"disk", "sise=1Gi"}, "too few words": {"size=1Gi"},
	} {
		if ws, err := parse(args, 1, "size", "count"); err == nil {
			t.Errorf("%s: parsed %+v", name, ws)
		}
	}
	for _, count := range []string{"0", "-1", "many"} {
		ws, err := parse([]string{"disk", "count=" + count}, 1, "count")
		if err != nil {
			t.Fatal(err)
		}
		if names, err := ws.names("disk"); err == nil {
			t.Errorf("count=%s is %q", count, names)
		}
	}
}
