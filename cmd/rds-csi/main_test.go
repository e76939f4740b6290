// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// Tests that run side by side wait more than they work. Not by -parallel, which Ginkgo refuses.
	flag.Parse()
	if err := flag.Lookup("test.parallel").Value.Set("8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m,
		// Ginkgo, which runs csi-sanity, waits for an interrupt as long as the process lives.
		goleak.IgnoreTopFunction("github.com/onsi/ginkgo/v2/internal/interrupt_handler.(*InterruptHandler).registerForInterrupts.func2"),
		goleak.Cleanup(func(code int) {
			if matrixSummary != "" {
				fmt.Println(matrixSummary)
			}
			os.Exit(code)
		}),
	)
}

func TestCommandLines(t *testing.T) {
	controller := []string{"controller", "--kubernetes=false", "--nodes=node-a", "--cluster-id=0123456789ab", "--rds-address=127.0.0.1:1", "--rds-user=admin"}
	node := []string{"node", "--kubernetes=false", "--cluster-id=0123456789ab", "--node-id=node-a", "--state-dir=" + t.TempDir()}
	doctor := []string{"doctor", "--rds-address=127.0.0.1:1", "--rds-user=admin"}
	with := func(args []string, more ...string) []string { return append(append([]string(nil), args...), more...) }
	tests := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"nothing", nil, 2, "rds-csi controller"},
		{"unknown command", []string{"serve"}, 2, `unknown command "serve"`},
		{"help", []string{"--help"}, 0, ""},
		{"version", []string{"version"}, 0, ""},
		{"version of something", []string{"version", "x"}, 2, `"x"`},
		{"controller help", []string{"controller", "--help"}, 0, "-rds-address"},
		{"unknown flag", []string{"controller", "--box=x"}, 2, "-box"},
		{"left over", with(controller, "x"), 2, `"x"`},
		{"no box", []string{"controller"}, 2, "--rds-address is missing"},
		{"a box that is a URL", with(controller, "--rds-address=https://box/"), 2, "--rds-address"},
		{"a port out of range", with(controller, "--rds-address=box:70000"), 2, "--rds-address"},
		{"no account", with(controller, "--rds-user="), 2, "--rds-user is missing"},
		{"no nodes", with(controller, "--nodes="), 2, "--nodes is missing"},
		{"a malformed node", with(controller, "--nodes=Node_A"), 2, "--nodes"},
		{"a node twice", with(controller, "--nodes=node-a,node-a"), 2, "--nodes"},
		{"nodes beside Kubernetes", with(controller, "--kubernetes=true"), 2, "--nodes"},
		{"no cluster", with(controller, "--cluster-id="), 2, "--cluster-id is missing"},
		{"a malformed cluster", with(controller, "--cluster-id=xyz"), 2, "--cluster-id"},
		{"too impatient", with(controller, "--command-timeout=1ms"), 2, "--command-timeout"},
		{"a lone session", with(controller, "--rds-sessions=1"), 2, "--rds-sessions"},
		{"too many sessions", with(controller, "--rds-sessions=17"), 2, "--rds-sessions"},
		{"an unknown transport", with(controller, "--rds-transport=rest"), 2, "--rds-transport"},
		{"SSH settings for the API", with(controller, "--rds-ssh-host-key=x"), 2, "--rds-ssh-host-key"},
		{"SSH with any host", with(controller, "--rds-transport=ssh", "--rds-password-file=/dev/null"), 2, "--rds-ssh-known-hosts"},
		{"SSH with two host keys", with(controller, "--rds-transport=ssh", "--rds-ssh-host-key=x", "--rds-ssh-known-hosts=y"), 2, "--rds-ssh-known-hosts"},
		{"SSH with TLS", with(controller, "--rds-transport=ssh", "--rds-ssh-host-key=x", "--rds-plain"), 2, "--rds-plain"},
		{"SSH with no way in", with(controller, "--rds-transport=ssh", "--rds-ssh-host-key=x"), 2, "--rds-ssh-key-file"},
		{"no such key file", with(controller, "--rds-transport=ssh", "--rds-ssh-host-key=x", "--rds-ssh-key-file=/nowhere"), 1, "--rds-ssh-key-file"},
		{"a key that is none", with(controller, "--rds-transport=ssh", "--rds-ssh-host-key=x", "--rds-ssh-key-file=/dev/null"), 2, "--rds-ssh-key-file"},
		{"unknown level", with(controller, "--log-level=loud"), 2, "--log-level"},
		{"unknown format", with(controller, "--log-format=xml"), 2, "--log-format"},
		{"plain and checked", with(controller, "--rds-plain", "--rds-insecure-skip-verify"), 2, "--rds-plain"},
		{"no such CA file", with(controller, "--rds-ca-file=/nowhere.pem"), 1, "--rds-ca-file"},
		{"no such password file", with(controller, "--rds-password-file=/nowhere"), 1, "--rds-password-file"},
		{"an endpoint that is no socket", with(controller, "--endpoint=tcp://127.0.0.1:1"), 1, "unix:///"},
		{"a demo over nothing known", []string{"demo", "--transport=rest"}, 2, "--transport"},
		{"doctor help", []string{"doctor", "--help"}, 0, "-write-test"},
		{"a doctor of no box", []string{"doctor", "--rds-user=admin"}, 2, "--rds-address is missing"},
		{"a doctor who is nobody", []string{"doctor", "--rds-address=127.0.0.1:1"}, 2, "--rds-user is missing"},
		{"a doctor in a hurry", with(doctor, "--patience=1ms"), 2, "--patience"},
		{"a doctor who compares with nothing", with(doctor, "--compare=/nowhere"), 1, "--compare"},
		{"a doctor who compares with no report", with(doctor, "--compare=main_test.go"), 2, "--compare"},
		{"a doctor of a malformed cluster", with(doctor, "--cluster-id=xyz"), 2, "--cluster-id"},
		{"a doctor of another box by SSH without its key", with(doctor, "--also-address=127.0.0.1:2"), 2, "--also-address"},
		{"a doctor at a closed port", doctor, 1, "the box is not healthy: 1 of"},
		{"a negative limit", with(controller, "--stale-limit=-1"), 2, "--stale-limit"},
		{"volumes of no cluster", []string{"volumes", "--kubernetes=false"}, 2, "--cluster-id is missing"},
		{"volumes of no box", []string{"volumes", "--kubernetes=false", "--cluster-id=0123456789ab"}, 2, "--rds-address is missing"},
		{"a volume that is none", []string{"volumes", "--kubernetes=false", "--cluster-id=0123456789ab", "disk"}, 2, "volume ID"},
		{"fence nobody", []string{"fence", "--kubernetes=false", "--cluster-id=0123456789ab", restartVolume}, 2, "name a volume and a node"},
		{"release a node that is none", []string{"release", "--kubernetes=false", "--cluster-id=0123456789ab", restartVolume, "Node_A"}, 2, "node ID"},
		{"adopt nothing", []string{"adopt", "--cluster-id=0123456789ab"}, 2, "name a volume"},
		{"no node ID", with(node, "--node-id="), 2, "--node-id is missing"},
		{"a malformed node ID", with(node, "--node-id=Node A"), 2, "--node-id"},
		{"no state", with(node, "--state-dir="), 2, "--state-dir is missing"},
		{"a node of no cluster", with(node, "--cluster-id="), 2, "--cluster-id is missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), tt.args, &stdout, &stderr); code != tt.code || !strings.Contains(stderr.String(), tt.says) {
				t.Fatalf("exit code %d, want %d; said %q, want %q in it", code, tt.code, stderr.String(), tt.says)
			}
		})
	}
}
