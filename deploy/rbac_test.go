// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

func TestRolesAreNarrow(t *testing.T) {
	for _, role := range of[*rbacv1.ClusterRole](manifests(t)) {
		for _, rule := range role.Rules {
			words := slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs, rule.NonResourceURLs)
			if slices.Contains(words, "*") {
				t.Errorf("%s: wildcard in %v", role.Name, rule)
			}
			if slices.Contains(rule.Resources, "secrets") {
				t.Errorf("%s: reads secrets; the box's account is mounted", role.Name)
			}
			for _, verb := range []string{"escalate", "bind", "impersonate", "deletecollection"} {
				if slices.Contains(rule.Verbs, verb) {
					t.Errorf("%s: verb %s", role.Name, verb)
				}
			}
		}
	}
}

// Every role is bound to an account that there is, and every account is used.
func TestBindings(t *testing.T) {
	objects := manifests(t)
	controller, node := pods(t, objects)
	bound := make(map[string]bool)
	for _, b := range of[*rbacv1.ClusterRoleBinding](objects) {
		bound[b.RoleRef.Name] = true
		for _, s := range b.Subjects {
			if s.Name != controller.ServiceAccountName && s.Name != node.ServiceAccountName {
				t.Errorf("%s: binds %s, which no pod uses", b.Name, s.Name)
			}
		}
	}
	for _, role := range of[*rbacv1.ClusterRole](objects) {
		if !bound[role.Name] {
			t.Errorf("role %s is bound to nobody", role.Name)
		}
		delete(bound, role.Name)
	}
	for name := range bound {
		t.Errorf("a binding names role %s, which there is not", name)
	}
	for _, sa := range of[*corev1.ServiceAccount](objects) {
		if sa.Name != controller.ServiceAccountName && sa.Name != node.ServiceAccountName {
			t.Errorf("account %s is not used", sa.Name)
		}
	}
}
