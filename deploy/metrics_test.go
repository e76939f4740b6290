// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

var metricName = regexp.MustCompile(`\brds_csi_[a-z0-9_]+`)

// checkMetrics fails for a metric that docs/reference.md does not have. It returns how many there are.
func checkMetrics(t *testing.T, expr string) int {
	t.Helper()
	names := documented(t, "## Metrics")
	found := metricName.FindAllString(expr, -1)
	for _, name := range found {
		base := name
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			base = strings.TrimSuffix(base, suffix)
		}
		if !names[name] && !names[base] {
			t.Errorf("metric %s is not in docs/reference.md: %s", name, expr)
		}
	}
	return len(found)
}

func TestAlerts(t *testing.T) {
	data, err := os.ReadFile("prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Alert       string            `json:"alert"`
				Expr        string            `json:"expr"`
				For         string            `json:"for"`
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.UnmarshalStrict(data, &rules); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || seen[r.Alert] {
				t.Errorf("%s: alert %q has no name of its own", g.Name, r.Alert)
			}
			seen[r.Alert] = true
			if checkMetrics(t, r.Expr) == 0 {
				t.Errorf("%s: no metric of the driver in %q", r.Alert, r.Expr)
			}
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s: severity, summary or description is missing", r.Alert)
			}
		}
	}
	if len(seen) == 0 {
		t.Error("no alerts")
	}
}

func TestDashboard(t *testing.T) {
	data, err := os.ReadFile("grafana/rds-csi.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		UID    string `json:"uid"`
		Panels []struct {
			ID      int    `json:"id"`
			Type    string `json:"type"`
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	ids := make(map[int]bool)
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q: ID %d is used twice", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q has no query", p.Title)
		}
		for _, target := range p.Targets {
			if checkMetrics(t, target.Expr) == 0 {
				t.Errorf("panel %q: no metric of the driver in %q", p.Title, target.Expr)
			}
		}
	}
	if board.UID == "" || len(ids) == 0 {
		t.Error("the dashboard has no UID or no panels")
	}
}
