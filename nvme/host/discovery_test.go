// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

func TestDiscover(t *testing.T) {
	for _, n := range []int{0, 1, 64, 65, 300} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			f := newFake()
			f.identity.Type = tcp.ControllerDiscovery
			for i := range n {
				f.log = append(f.log, tcp.DiscoveryEntry{
					Transport: tcp.TransportTCP, Family: tcp.FamilyIPv4, Subtype: tcp.SubtypeNVM, CNTLID: tcp.AnyController,
					ServiceID: "4420", Address: "127.0.0.1", SubNQN: fmt.Sprintf("nqn.2026-01.example:%d", i),
				})
			}
			got, err := Discover(t.Context(), f.listen(t), testHost)
			if err != nil || !slices.Equal(got, f.log) {
				t.Errorf("%d entries, %v, want %d", len(got), err, n)
			}
			if f.hostID != hostIDOf(testHost) || f.hostID[15] != 1 {
				t.Errorf("host ID %v, want the host NQN's", f.hostID)
			}
		})
	}
}

func TestDiscoverElsewhere(t *testing.T) {
	f := newFake()
	if _, err := Discover(t.Context(), f.listen(t), testHost); !errors.Is(err, ErrProtocol) {
		t.Errorf("err = %v, want ErrProtocol for an I/O controller", err)
	}
	if _, err := Discover(t.Context(), "127.0.0.1:1", "not an nqn"); !errors.Is(err, ErrConfig) {
		t.Errorf("err = %v, want ErrConfig", err)
	}
}

func TestHostIDOf(t *testing.T) {
	a, b := hostIDOf("nqn.2026-01.example:a"), hostIDOf("nqn.2026-01.example:b")
	if a == b || a != hostIDOf("nqn.2026-01.example:a") {
		t.Errorf("host IDs %v and %v", a, b)
	}
	if id := hostIDOf("nqn.2014-08.org.nvmexpress:uuid:00000000-0000-0000-0000-000000000000"); id.String() == "00000000-0000-0000-0000-000000000000" {
		t.Error("host ID zero")
	}
}

// A log page that changes while it is read is read again, but not for ever.
func TestDiscoverWhatMoves(t *testing.T) {
	f := newFake()
	f.identity.Type, f.moving = tcp.ControllerDiscovery, true
	if _, err := Discover(t.Context(), f.listen(t), testHost); !errors.Is(err, errMoving) {
		t.Errorf("err = %v, want errMoving", err)
	}
}
