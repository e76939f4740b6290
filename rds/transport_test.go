// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"crypto/tls"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/rds-csi/rds-csi/rds/sim"
)

// A bench is a simulated box, and a way to reach it.
type bench struct {
	*sim.Sim
	settings func(*Config)
	address  string
}

// box returns a Box on the simulated one.
func (b bench) box(t *testing.T, change func(*Config)) *Box {
	t.Helper()
	return newBox(t, b.address, func(cfg *Config) {
		b.settings(cfg)
		if change != nil {
			change(cfg)
		}
	})
}

// hostKey returns the box's host key, as a setting.
func hostKey(s *sim.Sim) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.HostKey())))
}

// reach returns a simulated box with the way to reach it over a transport.
func reach(s *sim.Sim, over string) bench {
	switch over {
	case wireTLS:
		return bench{s, func(cfg *Config) { cfg.TLS = &tls.Config{RootCAs: s.Roots()} }, s.TLSAddr()}
	case wireSSH:
		return bench{s, func(cfg *Config) { cfg.Transport, cfg.SSH.HostKey = SSH, hostKey(s) }, s.SSHAddr()}
	}
	return bench{s, func(*Config) {}, s.APIAddr()}
}

// overEach runs a test with a box of its own over each transport.
func overEach(t *testing.T, cfg func() sim.Config, test func(*testing.T, bench)) {
	t.Helper()
	for _, over := range transports {
		t.Run(over, func(t *testing.T) { test(t, reach(simulate(t, cfg()), over)) })
	}
}

// as returns a configuration, again and again.
func as(cfg sim.Config) func() sim.Config { return func() sim.Config { return cfg } }
