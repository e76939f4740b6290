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

var (
	metricName = regexp.MustCompile(`\brds_csi_[a-z0-9_]*[a-z0-9]\b`)
	selector   = regexp.MustCompile(`\b(rds_csi_[a-z0-9_]*[a-z0-9])\{([^{}]*)\}`)
	matcher    = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*\\?"`)
)

// target are the labels that Prometheus adds to every series.
var target = []string{"job", "instance", "namespace", "pod", "container", "node", "le"}

// An alert on a name or a label that does not exist never fires, and nobody notices. So every name in
// the alert rules, the dashboards and the reference must be one that is exposed, and every label that is
// matched one that it has.
func TestNamesThatOperatorsRead(t *testing.T) {
	known, labels := Names(), labelsByName(t)
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
			for _, found := range selector.FindAllStringSubmatch(string(text), -1) {
				for _, label := range matcher.FindAllStringSubmatch(found[2], -1) {
					if !slices.Contains(labels[baseName(known, found[1])], label[1]) && !slices.Contains(target, label[1]) {
						t.Errorf("%s: %s has no label %s", path, found[1], label[1])
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// labelsByName returns the labels of every metric.
func labelsByName(t *testing.T) map[string][]string {
	t.Helper()
	tel := start(t, Config{Gauges: allGauges})
	callAll(tel)
	families, err := tel.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	labels := make(map[string][]string)
	for _, family := range families {
		for _, pair := range family.GetMetric()[0].GetLabel() {
			labels[family.GetName()] = append(labels[family.GetName()], pair.GetName())
		}
	}
	return labels
}

// exposed reports whether a name, or the histogram that it belongs to, is known.
func exposed(known []string, name string) bool { return baseName(known, name) != "" }

// baseName returns a known name, that of the histogram which a name belongs to, or "".
func baseName(known []string, name string) string {
	if slices.Contains(known, name) {
		return name
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		base, cut := strings.CutSuffix(name, suffix)
		if cut && strings.HasSuffix(base, "_seconds") && slices.Contains(known, base) {
			return base
		}
	}
	return ""
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
