// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var metricName = regexp.MustCompile(`\brds_csi_[a-z0-9_]*[a-z0-9]\b`)

// An alert on a name that does not exist never fires, and nobody notices. So every name in the alert
// rules, the dashboards and the reference must be one that is exposed.
func TestNamesThatOperatorsRead(t *testing.T) {
	known := Names()
	for _, root := range []string{"../deploy", "../docs"} {
		if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
			t.Logf("%s does not exist", root)
			continue
		}
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json", ".md", ".tpl"}, filepath.Ext(path)) {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, name := range metricName.FindAllString(string(text), -1) {
				if !exposed(known, name) {
					t.Errorf("%s: %s is not exposed", path, name)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// exposed reports whether a name, or the histogram that it belongs to, is known.
func exposed(known []string, name string) bool {
	if slices.Contains(known, name) {
		return true
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		base, cut := strings.CutSuffix(name, suffix)
		if cut && strings.HasSuffix(base, "_seconds") && slices.Contains(known, base) {
			return true
		}
	}
	return false
}

func TestExposedNames(t *testing.T) {
	for name, want := range map[string]bool{
		MigrationsTotal:                      true,
		MigrationDurationSeconds + "_bucket": true,
		MigrationsTotal + "_count":           false,
		"rds_csi_migrations_total":           false,
	} {
		if exposed(Names(), name) != want {
			t.Errorf("exposed(%s) = %v", name, !want)
		}
	}
}
