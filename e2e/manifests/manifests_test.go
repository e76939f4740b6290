// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package manifests_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rds-csi/rds-csi/e2e/manifests"
)

func read(t *testing.T) *manifests.Set {
	t.Helper()
	s, err := manifests.Read("../../deploy/manifests")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A container runs with what the manifests say and an administrator filled in, on paths of this machine.
func TestArgs(t *testing.T) {
	s, dir := read(t), t.TempDir()
	if err := s.SetBox(manifests.Box{Address: "127.9.9.9:8729", NVMeAddress: "127.9.9.9", Username: "someone", Password: "secret", CA: []byte("PEM")}); err != nil {
		t.Fatal(err)
	}
	d, err := s.Controller()
	if err != nil {
		t.Fatal(err)
	}
	pod, err := s.Pod(d.Spec.Template.Spec, dir)
	if err != nil {
		t.Fatal(err)
	}
	args, err := pod.Args("rds-csi")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"controller", "--rds-address=127.9.9.9:8729", "--nvme-address=127.9.9.9", "--rds-user=someone",
		"--endpoint=unix://" + dir + "/socket/csi.sock", "--rds-password-file=" + dir + "/box/password",
	} {
		if !slices.Contains(args, want) {
			t.Errorf("%q is not among %q", want, args)
		}
	}
	for file, want := range map[string]string{"password": "secret", "ca.crt": "PEM"} {
		if got, err := os.ReadFile(filepath.Join(dir, "box", file)); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v", file, got, err)
		}
	}
	for _, c := range d.Spec.Template.Spec.Containers {
		args, err := pod.Args(c.Name)
		if err != nil {
			t.Error(err)
		}
		for _, arg := range args {
			if strings.Contains(arg, "$(") || strings.Contains(arg, "=/csi/") || strings.Contains(arg, "///csi/") {
				t.Errorf("%s: %s is not of this machine", c.Name, arg)
			}
		}
	}
}

// What has no value is not left empty.
func TestArgsWithoutAValue(t *testing.T) {
	s := read(t)
	d, err := s.Controller()
	if err != nil {
		t.Fatal(err)
	}
	spec := d.Spec.Template.Spec
	spec.Containers[0].Env = nil
	pod, err := s.Pod(spec, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if args, err := pod.Args(spec.Containers[0].Name); err == nil {
		t.Errorf("args without variables: %q", args)
	}
}
