// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/rds-csi/rds-csi/rds/sim"
)

// overEach runs a test over each transport, side by side with others: they wait more than they work.
func overEach(t *testing.T, test func(t *testing.T, over string)) {
	t.Helper()
	t.Parallel()
	for _, over := range demoTransports {
		t.Run(over, func(t *testing.T) {
			t.Parallel()
			test(t, over)
		})
	}
}

// reach returns the flags with which a controller reaches a box over a transport. Who answers is checked
// wherever the transport can tell.
func reach(t *testing.T, box *sim.Sim, over string) []string {
	t.Helper()
	switch over {
	case demoAPI:
		return []string{"--rds-address=" + box.APIAddr(), "--rds-plain"}
	case demoTLS:
		return []string{"--rds-address=" + box.TLSAddr(), "--rds-ca-file=" + box.CertificateFile()}
	case demoSSH:
		return []string{"--rds-address=" + box.SSHAddr(), "--rds-transport=ssh", "--rds-ssh-known-hosts=" + knownHosts(t, box)}
	}
	t.Fatalf("no transport %q", over)
	return nil
}

// knownHosts writes a known_hosts file with the box in it.
func knownHosts(t *testing.T, box *sim.Sim) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(knownhosts.Line([]string{box.SSHAddr()}, box.HostKey())+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// startOver runs rds-csi controller on a box over a transport.
func startOver(t *testing.T, box *sim.Sim, over string, flags ...string) *process {
	t.Helper()
	return startProcess(t, append(reach(t, box, over), flags...)...)
}
