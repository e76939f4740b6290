// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// patches decodes the two patches for a box that is reached over SSH.
func patches(t *testing.T) (box *corev1.Secret, controller *appsv1.Deployment) {
	t.Helper()
	read := func(file string) object {
		data, err := os.ReadFile(filepath.Join("ssh", file))
		if err != nil {
			t.Fatal(err)
		}
		return decode(t, file, data)
	}
	box, ok := read("box.yaml").(*corev1.Secret)
	if !ok {
		t.Fatal("box.yaml is no Secret")
	}
	controller, ok = read("controller.yaml").(*appsv1.Deployment)
	if !ok {
		t.Fatal("controller.yaml is no Deployment")
	}
	return box, controller
}

// mounted returns the files of the Secret that a pod has at /etc/rds-box, by the keys that must be there.
func mounted(t *testing.T, pod corev1.PodSpec) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, v := range pod.Volumes {
		if v.Name != "box" {
			continue
		}
		if v.Secret == nil || v.Secret.SecretName != "rds-box" || v.Secret.DefaultMode == nil || *v.Secret.DefaultMode != 0o440 {
			t.Fatalf("the volume box is %+v, want the Secret rds-box with mode 0440", v.VolumeSource)
		}
		for _, item := range v.Secret.Items {
			files["/etc/rds-box/"+item.Path] = item.Key
		}
	}
	return files
}

// checkFiles holds that the files which arguments name are those that are mounted, out of the Secret.
func checkFiles(t *testing.T, args []string, files, secret map[string]string) {
	t.Helper()
	unused := maps.Clone(files)
	for _, arg := range args {
		_, path, _ := strings.Cut(arg, "=")
		if !strings.HasPrefix(path, "/etc/rds-box/") {
			continue
		}
		key := files[path]
		delete(unused, path)
		if secret[key] == "" {
			t.Errorf("%s: the file is key %q, which the Secret does not have", arg, key)
		}
	}
	if len(unused) > 0 {
		t.Errorf("mounted and not used: %v", unused)
	}
}

func TestBoxFiles(t *testing.T) {
	objects := manifests(t)
	base := only[*corev1.Secret](t, objects).StringData
	controller, _ := pods(t, objects)
	args := controller.Containers[0].Args
	t.Run("API", func(t *testing.T) { checkFiles(t, args, mounted(t, controller), base) })
	t.Run("SSH", func(t *testing.T) {
		box, patch := patches(t)
		secret := maps.Clone(base)
		maps.Copy(secret, box.StringData) // an empty value takes the key away
		checkFiles(t, patch.Spec.Template.Spec.Containers[0].Args, mounted(t, patch.Spec.Template.Spec), secret)
	})
}

// The patches meet with what they are for, and change nothing but the way to the box.
func TestSSHPatches(t *testing.T) {
	objects := manifests(t)
	box, patch := patches(t)
	if base := only[*corev1.Secret](t, objects); box.Name != base.Name || box.Namespace != base.Namespace {
		t.Errorf("the patch is for the Secret %s/%s, the manifests have %s/%s", box.Namespace, box.Name, base.Namespace, base.Name)
	}
	base := only[*appsv1.Deployment](t, objects)
	if patch.Name != base.Name || patch.Namespace != base.Namespace {
		t.Errorf("the patch is for the Deployment %s/%s, the manifests have %s/%s", patch.Namespace, patch.Name, base.Namespace, base.Name)
	}
	ours, theirs := patch.Spec.Template.Spec.Containers, base.Spec.Template.Spec.Containers[0]
	if len(ours) != 1 || ours[0].Name != theirs.Name {
		t.Fatalf("the patch has the containers %+v, want %s alone", ours, theirs.Name)
	}
	way := func(arg string) bool {
		for _, flag := range []string{"--rds-ca-file", "--rds-password-file", "--rds-transport", "--rds-ssh-"} {
			if strings.HasPrefix(arg, flag) {
				return true
			}
		}
		return false
	}
	if got, want := slices.DeleteFunc(slices.Clone(ours[0].Args), way), slices.DeleteFunc(slices.Clone(theirs.Args), way); !slices.Equal(got, want) {
		t.Errorf("beside the way to the box, the patch has the arguments\n%q, the manifests\n%q", got, want)
	}
	flags := documented(t, "### rds-csi controller")
	for _, arg := range ours[0].Args[1:] {
		if name, _, _ := strings.Cut(arg, "="); !flags[name] {
			t.Errorf("flag %s is not in docs/reference.md", name)
		}
	}
}
