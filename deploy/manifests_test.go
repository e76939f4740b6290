// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/rds-csi/rds-csi/actors"
)

// driverName is the name that existing StorageClasses and volumes carry.
const driverName = "rds.csi.srvlab.io"

// An object is what every kind of manifest has.
type object interface{ GetName() string }

// kinds are those that the manifests may have, with the types that decode them.
var kinds = map[string]func() object{
	"v1/Namespace":                                    func() object { return new(corev1.Namespace) },
	"v1/ServiceAccount":                               func() object { return new(corev1.ServiceAccount) },
	"v1/ConfigMap":                                    func() object { return new(corev1.ConfigMap) },
	"v1/Secret":                                       func() object { return new(corev1.Secret) },
	"apps/v1/Deployment":                              func() object { return new(appsv1.Deployment) },
	"apps/v1/DaemonSet":                               func() object { return new(appsv1.DaemonSet) },
	"policy/v1/PodDisruptionBudget":                   func() object { return new(policyv1.PodDisruptionBudget) },
	"rbac.authorization.k8s.io/v1/Role":               func() object { return new(rbacv1.Role) },
	"rbac.authorization.k8s.io/v1/RoleBinding":        func() object { return new(rbacv1.RoleBinding) },
	"rbac.authorization.k8s.io/v1/ClusterRole":        func() object { return new(rbacv1.ClusterRole) },
	"rbac.authorization.k8s.io/v1/ClusterRoleBinding": func() object { return new(rbacv1.ClusterRoleBinding) },
	"storage.k8s.io/v1/CSIDriver":                     func() object { return new(storagev1.CSIDriver) },
	"storage.k8s.io/v1/StorageClass":                  func() object { return new(storagev1.StorageClass) },
}

// kustomization is the part of kustomization.yaml that the tests look at.
type kustomization struct {
	Resources []string `json:"resources"`
	Images    []struct {
		Name string `json:"name"`
	} `json:"images"`
}

// manifests decodes every manifest. A field that its kind does not have fails the test.
func manifests(t *testing.T) []object {
	t.Helper()
	var objects []object
	for _, file := range resources(t) {
		data, err := os.ReadFile(filepath.Join("manifests", file))
		if err != nil {
			t.Fatal(err)
		}
		docs := utilyaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(data)))
		for {
			buf := make([]byte, len(data))
			n, err := docs.Read(buf)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			objects = append(objects, decode(t, file, buf[:n]))
		}
	}
	return objects
}

func decode(t *testing.T, file string, doc []byte) object {
	t.Helper()
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &meta); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	makeObject, known := kinds[meta.APIVersion+"/"+meta.Kind]
	if !known {
		t.Fatalf("%s: no type for %s %s", file, meta.APIVersion, meta.Kind)
	}
	o := makeObject()
	if err := yaml.UnmarshalStrict(doc, o); err != nil {
		t.Fatalf("%s: %s: %v", file, meta.Kind, err)
	}
	return o
}

func readKustomization(t *testing.T) kustomization {
	t.Helper()
	data, err := os.ReadFile("manifests/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var k kustomization
	if err := yaml.Unmarshal(data, &k); err != nil {
		t.Fatal(err)
	}
	return k
}

// resources returns the files that kustomization.yaml applies: all but itself.
func resources(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("manifests/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, f := range files {
		if base := filepath.Base(f); base != "kustomization.yaml" {
			want = append(want, base)
		}
	}
	got := slices.Sorted(slices.Values(readKustomization(t).Resources))
	if !slices.Equal(got, want) {
		t.Fatalf("kustomization.yaml applies %v, the folder has %v", got, want)
	}
	return want
}

// of returns the objects of one type.
func of[T object](objects []object) []T {
	var found []T
	for _, o := range objects {
		if typed, ok := o.(T); ok {
			found = append(found, typed)
		}
	}
	return found
}

// only returns the one object of a type.
func only[T object](t *testing.T, objects []object) T {
	t.Helper()
	found := of[T](objects)
	if len(found) != 1 {
		t.Fatalf("the manifests have %d objects of type %T, want 1", len(found), *new(T))
	}
	return found[0]
}

// pods returns the pod specs of the controller and of the node plugin.
func pods(t *testing.T, objects []object) (controller, node corev1.PodSpec) {
	t.Helper()
	return only[*appsv1.Deployment](t, objects).Spec.Template.Spec, only[*appsv1.DaemonSet](t, objects).Spec.Template.Spec
}

func containers(specs ...corev1.PodSpec) []corev1.Container {
	var all []corev1.Container
	for _, s := range specs {
		all = append(append(all, s.InitContainers...), s.Containers...)
	}
	return all
}

// Of two controllers one leads, by the lease of the driver's name, which the account may hold; the sidecars
// follow.
func TestOneControllerLeads(t *testing.T) {
	objects := manifests(t)
	d := only[*appsv1.Deployment](t, objects)
	if d.Spec.Replicas == nil || *d.Spec.Replicas != 2 {
		t.Errorf("replicas: %v, want 2", d.Spec.Replicas)
	}
	role := only[*rbacv1.Role](t, objects)
	if role.Namespace != d.Namespace {
		t.Errorf("the role on leases is in namespace %q, the controller in %q", role.Namespace, d.Namespace)
	}
	for _, rule := range role.Rules {
		if slices.Contains(rule.Verbs, "update") && !slices.Equal(rule.ResourceNames, []string{driverName}) {
			t.Errorf("leases %v may be updated, want that of the driver's name alone", rule.ResourceNames)
		}
	}
	for _, c := range containers(d.Spec.Template.Spec) {
		for _, arg := range c.Args {
			if strings.HasPrefix(strings.TrimLeft(arg, "-"), "leader-election") {
				t.Errorf("%s has %s: the sidecars follow the driver beside them", c.Name, arg)
			}
		}
	}
}

func TestDriver(t *testing.T) {
	d := only[*storagev1.CSIDriver](t, manifests(t))
	if d.Name != driverName {
		t.Errorf("name: %q, want %q", d.Name, driverName)
	}
	if d.Spec.AttachRequired == nil || !*d.Spec.AttachRequired {
		t.Error("attachRequired is not true: pods would start without asking the controller")
	}
}

func TestStorageClasses(t *testing.T) {
	parameters := documented(t, "## StorageClass parameters")
	for _, sc := range of[*storagev1.StorageClass](manifests(t)) {
		if sc.Provisioner != driverName {
			t.Errorf("%s: provisioner %q, want %q", sc.Name, sc.Provisioner, driverName)
		}
		for key := range sc.Parameters {
			if !parameters[key] {
				t.Errorf("%s: parameter %q is not in docs/reference.md", sc.Name, key)
			}
		}
		if _, err := actors.ParseFencing(sc.Parameters["fencing"]); err != nil {
			t.Errorf("%s: %v", sc.Name, err)
		}
		if s := sc.Parameters["migrationTimeoutSeconds"]; s != "" {
			if n, err := strconv.Atoi(s); err != nil || n < actors.MinTimeout || n > actors.MaxTimeout {
				t.Errorf("%s: migrationTimeoutSeconds %q", sc.Name, s)
			}
		}
	}
}

func TestFlagsAreDocumented(t *testing.T) {
	controller, node := pods(t, manifests(t))
	for _, c := range containers(controller, node) {
		if c.Name != "rds-csi" {
			continue
		}
		flags := documented(t, "### rds-csi "+c.Args[0])
		for _, arg := range c.Args[1:] {
			if name, _, _ := strings.Cut(arg, "="); !flags[name] {
				t.Errorf("rds-csi %s: flag %s is not in docs/reference.md", c.Args[0], name)
			}
		}
	}
}

// A password in an argument or in the environment shows in process lists and in kubectl describe.
func TestPasswordIsAFile(t *testing.T) {
	controller, node := pods(t, manifests(t))
	for _, c := range containers(controller, node) {
		for _, e := range c.Env {
			if ref := e.ValueFrom; ref != nil && ref.SecretKeyRef != nil && ref.SecretKeyRef.Key != "username" {
				t.Errorf("%s: the environment has the secret's %s", c.Name, ref.SecretKeyRef.Key)
			}
		}
	}
	for _, v := range controller.Volumes {
		if v.Secret != nil && (v.Secret.DefaultMode == nil || *v.Secret.DefaultMode != 0o440) {
			t.Errorf("volume %s: mode %v, want 0440", v.Name, v.Secret.DefaultMode)
		}
	}
}

func TestImagesArePinned(t *testing.T) {
	ours := readKustomization(t).Images[0].Name
	controller, node := pods(t, manifests(t))
	for _, c := range containers(controller, node) {
		name, tag, tagged := strings.Cut(c.Image, ":")
		if !tagged || tag == "" || tag == "latest" {
			t.Errorf("%s: image %s is not pinned", c.Name, c.Image)
		}
		if strings.Contains(name, "rds-csi") && name != ours {
			t.Errorf("%s: kustomization.yaml does not replace image %s", c.Name, name)
		}
	}
}

func TestNodePlugin(t *testing.T) {
	_, node := pods(t, manifests(t))
	if !node.HostNetwork {
		t.Error("hostNetwork is off: connections would live in the pod's network namespace and end with it")
	}
	if !node.HostPID {
		t.Error("hostPID is off: a device that another pod has open would look unused")
	}
	i := slices.IndexFunc(node.Containers, func(c corev1.Container) bool { return c.Name == "rds-csi" })
	c := node.Containers[i]
	if c.SecurityContext == nil || c.SecurityContext.Privileged == nil || !*c.SecurityContext.Privileged {
		t.Error("the node plugin is not privileged: it cannot open /dev/nvme-fabrics or mount")
	}
	mounts := make(map[string]corev1.VolumeMount)
	for _, m := range c.VolumeMounts {
		mounts[m.MountPath] = m
	}
	for _, path := range []string{"/dev", "/sys", "/var/lib/kubelet"} {
		if mounts[path].Name == "" {
			t.Errorf("the node plugin does not mount %s", path)
		}
	}
	if p := mounts["/var/lib/kubelet"].MountPropagation; p == nil || *p != corev1.MountPropagationBidirectional {
		t.Error("what is mounted under /var/lib/kubelet would not reach the kubelet")
	}
}

// References that Kubernetes resolves late, or never.
func TestReferences(t *testing.T) {
	controller, node := pods(t, manifests(t))
	for _, spec := range []corev1.PodSpec{controller, node} {
		volumes := make(map[string]bool)
		for _, v := range spec.Volumes {
			volumes[v.Name] = true
		}
		for _, c := range containers(spec) {
			ports := make(map[string]bool)
			for _, p := range c.Ports {
				ports[p.Name] = true
			}
			for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe} {
				if probe != nil && !ports[probe.HTTPGet.Port.StrVal] {
					t.Errorf("%s: a probe names port %s", c.Name, probe.HTTPGet.Port.StrVal)
				}
			}
			for _, m := range c.VolumeMounts {
				if !volumes[m.Name] {
					t.Errorf("%s: mounts volume %s, which the pod does not have", c.Name, m.Name)
				}
			}
		}
	}
}
