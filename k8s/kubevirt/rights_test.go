// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/rds-csi/rds-csi/actors"
)

// The role's rights suffice, none is too many, and the documentation lists them. Each is "group resource verb".
func TestRights(t *testing.T) {
	var asked []string
	bubble(t, func(t *testing.T) {
		c := newCluster(t) // where nothing is watched yet
		c.installs()
		c.vm(runs("a", started+handedOff))
		c.job("job-1", "phase: Running")
		c.pods(newTestPod("launcher-a", "a", launches("web", "vm-1")), newTestPod("launcher-b", "b", launches("web", "vm-1"), targets("job-1")))
		c.admits()
		if _, err := c.migration(); err != nil {
			t.Error(err)
		}
		c.watched()
		c.tells(actors.Migration{Verdict: actors.VerdictOpen})
		for _, action := range slices.Concat(c.kube.Actions(), c.dynamic.Actions()) {
			if r := action.GetResource(); r.Resource != "resource" && r.Resource != "group" { // discovery
				asked = append(asked, r.Group+" "+r.Resource+" "+action.GetVerb())
			}
		}
	})
	slices.Sort(asked)
	asked = slices.Compact(asked)
	if granted := grantedRights(t); !slices.Equal(asked, granted) {
		t.Errorf("asks for %q,\nis granted %q", asked, granted)
	}
	if told := toldRights(t); !slices.Equal(asked, told) {
		t.Errorf("asks for %q,\ntells %q", asked, told)
	}
}

func grantedRights(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("../../deploy/manifests/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rights []string
	docs := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		var role rbacv1.ClusterRole
		if docs.Decode(&role) != nil {
			slices.Sort(rights)
			return rights
		}
		if role.Kind != "ClusterRole" || role.Name != "rds-csi-kubevirt" {
			continue
		}
		for _, rule := range role.Rules {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					rights = append(rights, rule.APIGroups[0]+" "+resource+" "+verb)
				}
			}
		}
	}
}

func toldRights(t *testing.T) []string {
	t.Helper()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var rights []string
	for _, line := range regexp.MustCompile(`(?m)^//\t(\S+) +(\S+) +([a-z, ]+)$`).FindAllStringSubmatch(string(doc), -1) {
		for verb := range strings.SplitSeq(line[3], ", ") {
			rights = append(rights, strings.Trim(line[1], `"`)+" "+line[2]+" "+verb)
		}
	}
	slices.Sort(rights)
	return rights
}
