// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestConfigIsChecked(t *testing.T) {
	tests := map[string]func(*Config){
		"no address":      func(c *Config) { c.Address = "" },
		"no subsystem":    func(c *Config) { c.SubsystemNQN = "" },
		"long subsystem":  func(c *Config) { c.SubsystemNQN = "nqn." + strings.Repeat("x", 220) },
		"zero in an nqn":  func(c *Config) { c.HostNQN = "nqn.2026\x00" },
		"not an nqn":      func(c *Config) { c.HostNQN = "iqn.2026-01.example:a" },
		"no host id":      func(c *Config) { c.HostID = uuid.Nil },
		"five queues":     func(c *Config) { c.Queues = 5 },
		"negative queues": func(c *Config) { c.Queues = -1 },
		"too deep":        func(c *Config) { c.QueueDepth = MaxQueueDepth + 1 },
		"negative delay":  func(c *Config) { c.ReconnectDelay = -1 },
		"short kato":      func(c *Config) { c.KeepAlive = time.Microsecond },
		"long kato":       func(c *Config) { c.KeepAlive = 100 * 24 * time.Hour },
		"negative i/o":    func(c *Config) { c.IOTimeout = -1 },
	}
	for name, change := range tests {
		cfg := newFake().config()
		change(&cfg)
		if _, err := Connect(t.Context(), cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v, want ErrConfig", name, err)
		}
	}
}

func TestConfigZeroes(t *testing.T) {
	c := Config{Address: "box.example"}.withDefaults()
	if c.Address != "box.example:4420" || c.Queues != 1 || c.QueueDepth != 128 || c.KeepAlive != 5*time.Second ||
		c.ReconnectDelay != 10*time.Second || c.CtrlLossTimeout != 10*time.Minute || c.Dial == nil || c.Logger == nil {
		t.Errorf("defaults %+v", c)
	}
	c.OnState(StateNew, StateLive)
	c.OnNamespace(Namespace{}, Namespace{})
	for addr, want := range map[string]string{"::1": "[::1]:4420", "[::1]:9": "[::1]:9", "10.0.0.1:4421": "10.0.0.1:4421"} {
		if got := (Config{Address: addr}).withDefaults().Address; got != want {
			t.Errorf("%s became %s", addr, got)
		}
	}
}

func TestNames(t *testing.T) {
	for s, want := range map[State]string{
		StateNew: "new", StateLive: "live", StateResetting: "resetting", StateConnecting: "connecting",
		StateDeleting: "deleting", StateDeleted: "deleted", 99: "unknown", -1: "unknown",
	} {
		if s.String() != want {
			t.Errorf("%d is %q, want %q", s, s, want)
		}
	}
	err := &StatusError{Op: "connect queue 0", Code: 0x184, DNR: true}
	if got, want := err.Error(), "connect queue 0: NVMe status 0x184 (connect invalid host, do not retry)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestBuffersHaveTheirSize(t *testing.T) {
	var p pools
	for _, n := range []int{1, 512, 513, 4096, 1 << 20} {
		for range 3 {
			b := p.get(n)
			if len(b.b) != n {
				t.Fatalf("get(%d) has %d bytes", n, len(b.b))
			}
			p.put(b)
		}
	}
}
