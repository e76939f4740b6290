// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A Pod is a pod of the manifests whose volumes are directories of this machine.
type Pod struct {
	set     *Set
	spec    corev1.PodSpec
	volumes map[string]string // directories, by the volume's name
}

// Pod makes a pod's volumes below a directory: empty ones, and those with keys of a Secret of the set.
// Other kinds are refused.
func (s *Set) Pod(spec corev1.PodSpec, dir string) (*Pod, error) {
	p := &Pod{set: s, spec: spec, volumes: map[string]string{}}
	for _, v := range spec.Volumes {
		path := filepath.Join(dir, v.Name)
		p.volumes[v.Name] = path
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, fmt.Errorf("make volume %s: %w", v.Name, err)
		}
		switch {
		case v.EmptyDir != nil:
		case v.Secret != nil:
			if err := p.writeSecret(path, v.Secret); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("volume %s is of a kind that cannot be made here", v.Name)
		}
	}
	return p, nil
}

func (p *Pod) writeSecret(dir string, source *corev1.SecretVolumeSource) error {
	for _, item := range source.Items {
		value, err := p.value("Secret", source.SecretName, item.Key)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, item.Path), []byte(value), 0o600); err != nil {
			return fmt.Errorf("write Secret %s: %w", source.SecretName, err)
		}
	}
	return nil
}

// value returns a value of a ConfigMap or a Secret of the set.
func (p *Pod) value(kind, name, key string) (string, error) {
	o, err := p.set.find(kind, name)
	if err != nil {
		return "", err
	}
	for _, field := range []string{"data", "stringData"} {
		if v, found, err := unstructured.NestedString(o.Object, field, key); found && err == nil {
			return v, nil
		}
	}
	return "", fmt.Errorf("%s %s has no key %s", kind, name, key)
}

// Path returns where a path within a container is on this machine.
func (p *Pod) Path(container, path string) (string, error) {
	c, err := p.container(container)
	if err != nil {
		return "", err
	}
	return p.mounts(c).Replace(path), nil
}

// Args returns a container's arguments: with its variables filled in, and with paths of this machine.
func (p *Pod) Args(container string) ([]string, error) {
	c, err := p.container(container)
	if err != nil {
		return nil, err
	}
	env, err := p.env(c)
	if err != nil {
		return nil, err
	}
	var args []string
	for _, arg := range c.Args {
		expanded := variable.ReplaceAllStringFunc(arg, func(v string) string {
			value, ok := env[v[2:len(v)-1]]
			if !ok {
				err = fmt.Errorf("%s: %s has no value", arg, v)
			}
			return value
		})
		args = append(args, p.mounts(c).Replace(expanded))
	}
	return args, err
}

var variable = regexp.MustCompile(`\$\([A-Z_]+\)`)

func (p *Pod) container(name string) (corev1.Container, error) {
	for _, c := range p.spec.Containers {
		if c.Name == name {
			return c, nil
		}
	}
	return corev1.Container{}, fmt.Errorf("the pod has no container %s", name)
}

// mounts replaces the paths of a container by those of this machine.
func (p *Pod) mounts(c corev1.Container) *strings.Replacer {
	var pairs []string
	for _, m := range c.VolumeMounts {
		pairs = append(pairs, m.MountPath+"/", p.volumes[m.Name]+"/")
	}
	return strings.NewReplacer(pairs...)
}

func (p *Pod) env(c corev1.Container) (map[string]string, error) {
	env := map[string]string{}
	for _, e := range c.Env {
		value, err := e.Value, error(nil)
		switch from := e.ValueFrom; {
		case from == nil:
		case from.ConfigMapKeyRef != nil:
			value, err = p.value("ConfigMap", from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Key)
		case from.SecretKeyRef != nil:
			value, err = p.value("Secret", from.SecretKeyRef.Name, from.SecretKeyRef.Key)
		default:
			err = fmt.Errorf("variable %s comes from where nothing is read here", e.Name)
		}
		if err != nil {
			return nil, err
		}
		env[e.Name] = value
	}
	return env, nil
}
