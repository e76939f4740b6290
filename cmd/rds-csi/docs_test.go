// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/rds-csi/rds-csi/rds"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// The flags that docs/reference.md lists are those that there are, with their defaults.
func TestReferenceListsTheFlags(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	for command, fs := range flagSets() {
		section := between(string(page), "### rds-csi "+command+"\n", "\n#")
		documented := map[string]string{}
		for _, m := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)` \\| (.*?) \\|").FindAllStringSubmatch(section, -1) {
			documented[m[1]] = strings.Trim(m[2], "`")
		}
		fs.VisitAll(func(f *flag.Flag) {
			def, ok := documented[f.Name]
			delete(documented, f.Name)
			switch {
			case !ok:
				t.Errorf("%s: --%s is not in the reference", command, f.Name)
			case f.DefValue != "" && def != f.DefValue:
				t.Errorf("%s: --%s is %q by default, the reference says %q", command, f.Name, f.DefValue, def)
			}
		})
		for name := range documented {
			t.Errorf("%s: the reference lists --%s, which there is not", command, name)
		}
	}
}

func flagSets() map[string]*flag.FlagSet {
	controller := flag.NewFlagSet("controller", flag.ContinueOnError)
	new(controllerFlags).register(controller)
	node := flag.NewFlagSet("node", flag.ContinueOnError)
	new(nodeFlags).register(node)
	demo := flag.NewFlagSet("demo", flag.ContinueOnError)
	new(demoFlags).register(demo)
	doctor := flag.NewFlagSet("doctor", flag.ContinueOnError)
	new(doctorFlags).register(doctor)
	own := func(register func(*operatorFlags, *flag.FlagSet)) *flag.FlagSet {
		fs := flag.NewFlagSet("for people", flag.ContinueOnError)
		register(new(operatorFlags), fs)
		return fs // besides the controller's
	}
	return map[string]*flag.FlagSet{
		"volumes": own((*operatorFlags).registerVolumes), "release": own((*operatorFlags).registerRelease),
		"fence": own((*operatorFlags).registerFence), "adopt": own((*operatorFlags).registerAdopt),
		"controller": controller, "node": node, "demo": demo, "doctor": doctor,
	}
}

func between(s, begin, end string) string {
	_, s, _ = strings.Cut(s, begin)
	s, _, _ = strings.Cut(s, end)
	return s
}

// The manifests start the programs with flags that they take.
func TestManifestsUseFlagsThatThereAre(t *testing.T) {
	sets := flagSets()
	checked := 0
	for _, file := range []string{"manifests/controller.yaml", "manifests/node.yaml", "ssh/controller.yaml"} {
		manifest, err := os.ReadFile("../../deploy/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for doc := range strings.SplitSeq(string(manifest), "\n---\n") {
			for _, args := range driverArgs(t, doc) {
				checked++
				args = slices.Clone(args)
				for i := range args {
					args[i] = strings.ReplaceAll(args[i], "$(", "(") // filled in by the kubelet
				}
				fs := sets[args[0]]
				if fs == nil {
					t.Fatalf("%s: unknown command %q", file, args[0])
				}
				if err := parse(fs, args[1:], os.Stderr); err != nil {
					t.Errorf("%s: %v: %v", file, args, err)
				}
			}
		}
	}
	if checked != 3 {
		t.Fatalf("%d containers of the driver in the manifests, want the controller, twice, and the node", checked)
	}
}

// With the files that the manifests mount, the controllers' flags are all that it takes to reach a box.
func TestManifestsReachTheBox(t *testing.T) {
	dir := t.TempDir()
	box := startBox(t, t.TempDir(), sim.LoopbackHost()+":0")
	keyFile(t, dir, "ssh-privatekey", sshKeys(t)["Ed25519"])
	for name, from := range map[string]string{"known_hosts": knownHosts(t, box), "ca.crt": box.CertificateFile()} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte(testPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]rds.Transport{"manifests": rds.API, "ssh": rds.SSH} {
		manifest, err := os.ReadFile("../../deploy/" + file + "/controller.yaml")
		if err != nil {
			t.Fatal(err)
		}
		args := driverArgs(t, string(manifest))[0]
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "/etc/rds-box", dir)
			args[i] = strings.ReplaceAll(args[i], "$(RDS_ADDRESS)", box.SSHAddr())
		}
		var f controllerFlags
		fs := flag.NewFlagSet("controller", flag.ContinueOnError)
		f.register(fs)
		if err := parse(fs, args[1:], os.Stderr); err != nil {
			t.Fatal(err)
		}
		var cfg rds.Config
		if err := f.sessions(&cfg, "192.0.2.10"); err != nil || cfg.Transport != want || (want == rds.API) != (cfg.TLS != nil) {
			t.Errorf("%s: %+v, %v", file, cfg, err)
		}
	}
}

// driverArgs returns the arguments of the driver's own containers in a workload.
func driverArgs(t *testing.T, doc string) [][]string {
	var workload struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Name string
						Args []string
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal([]byte(doc), &workload); err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for _, c := range workload.Spec.Template.Spec.Containers {
		if c.Name == "rds-csi" {
			out = append(out, c.Args)
		}
	}
	return out
}
