// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"testing"

	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// read makes an object of YAML, as the API server would.
func read(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	if text == "" {
		return nil
	}
	content, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(content); err != nil {
		t.Fatal(err)
	}
	return u
}

const (
	vmKind  = "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {namespace: vms, name: web, uid: vm-1}\n"
	jobKind = "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstanceMigration\nmetadata: {namespace: vms, name: job-1, uid: job-1}\nspec: {vmiName: web}\n"
)

func vmOf(t *testing.T, text string) *instance {
	t.Helper()
	if text == "" {
		return nil
	}
	return newInstance(read(t, vmKind+text))
}

func jobOf(t *testing.T, text string) *job {
	t.Helper()
	if text == "" {
		return nil
	}
	return newJob(read(t, jobKind+text))
}
