// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// A Set is what a directory of manifests holds, in the order in which it is applied.
type Set struct {
	Objects []*unstructured.Unstructured
}

// A Box is what an administrator fills in about a box.
type Box struct {
	Address     string // host:port of the API over TLS
	NVMeAddress string
	Username    string
	Password    string
	CA          []byte // PEM
}

// Read reads the directory that a kustomization.yaml names the files of.
func Read(dir string) (*Set, error) {
	data, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
	if err != nil {
		return nil, fmt.Errorf("read the manifests: %w", err)
	}
	var k struct {
		Resources []string `json:"resources"`
	}
	if err := yaml.Unmarshal(data, &k); err != nil {
		return nil, fmt.Errorf("read kustomization.yaml: %w", err)
	}
	s := &Set{}
	for _, name := range k.Resources {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("read the manifests: %w", err)
		}
		objects, err := Decode(data)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		s.Objects = append(s.Objects, objects...)
	}
	return s, nil
}

// Decode decodes the documents of a YAML file.
func Decode(data []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	docs := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := docs.Decode(&o.Object)
		switch {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, fmt.Errorf("decode a document: %w", err)
		case len(o.Object) > 0:
			objects = append(objects, o)
		}
	}
}

// find returns the object of a kind and a name.
func (s *Set) find(kind, name string) (*unstructured.Unstructured, error) {
	for _, o := range s.Objects {
		if o.GetKind() == kind && o.GetName() == name {
			return o, nil
		}
	}
	return nil, fmt.Errorf("the manifests have no %s %s", kind, name)
}

// Controller returns the pod template of the controller's Deployment.
func (s *Set) Controller() (*appsv1.Deployment, error) {
	o, err := s.find("Deployment", "rds-csi-controller")
	if err != nil {
		return nil, err
	}
	d := &appsv1.Deployment{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, d); err != nil {
		return nil, fmt.Errorf("decode the Deployment: %w", err)
	}
	return d, nil
}

// SetBox fills in the box, as docs/install.md asks an administrator to.
func (s *Set) SetBox(b Box) error {
	configMap, err := s.find("ConfigMap", "rds-box")
	if err != nil {
		return err
	}
	secret, err := s.find("Secret", "rds-box")
	if err != nil {
		return err
	}
	for _, v := range []struct {
		object     *unstructured.Unstructured
		field, key string
		value      string
	}{
		{configMap, "data", "rds-address", b.Address},
		{configMap, "data", "nvme-address", b.NVMeAddress},
		{secret, "stringData", "username", b.Username},
		{secret, "stringData", "password", b.Password},
		{secret, "stringData", "ca.crt", string(b.CA)},
	} {
		if _, found, err := unstructured.NestedString(v.object.Object, v.field, v.key); !found || err != nil {
			return fmt.Errorf("the manifests' %s has no %s to be filled in", v.object.GetKind(), v.key)
		}
		if err := unstructured.SetNestedField(v.object.Object, v.value, v.field, v.key); err != nil {
			return fmt.Errorf("fill in %s: %w", v.key, err)
		}
	}
	return nil
}

// Apply creates the objects. Of Deployments and DaemonSets the API server is only asked whether it would
// take them: there is nobody who could run their pods.
func (s *Set) Apply(ctx context.Context, client dynamic.Interface) error {
	for _, o := range s.Objects {
		options := metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}
		if kind := o.GetKind(); kind == "Deployment" || kind == "DaemonSet" {
			options.DryRun = []string{metav1.DryRunAll}
		}
		if err := Create(ctx, client, o, options); err != nil {
			return err
		}
	}
	return nil
}

// Create creates an object, or leaves it as it is if it is there.
func Create(ctx context.Context, client dynamic.Interface, o *unstructured.Unstructured, options metav1.CreateOptions) error {
	resource, _ := meta.UnsafeGuessKindToResource(o.GroupVersionKind())
	var of dynamic.ResourceInterface = client.Resource(resource)
	if o.GetNamespace() != "" {
		of = client.Resource(resource).Namespace(o.GetNamespace())
	}
	if _, err := of.Create(ctx, o, options); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return nil
}
