// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
	"github.com/rds-csi/rds-csi/nvme/target"
)

const proberNQN = "nqn.2000-02.com.mikrotik:pvc-aaaaaaaa-0000-4000-8000-000000000001.m0abc123"

// unread is storage that nobody reads.
type unread struct{ target.Storage }

func (unread) Size() int64 { return 1 << 20 }

// proberTest is a target with a volume's subsystem.
type proberTest struct {
	*target.Target
	addr  netip.AddrPort
	host  actors.Host
	ended chan target.ControllerInfo // the controllers that are no more
}

func newProberTest(t *testing.T) *proberTest {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	p := &proberTest{host: actors.HostOf("0123456789ab", "worker-1"), ended: make(chan target.ControllerInfo, 16)}
	p.Target = target.New(target.Config{OnDisconnect: func(i target.ControllerInfo) { p.ended <- i }})
	port, err := p.NewPort(1)
	must(err)
	must(p.Add(target.Subsystem{NQN: proberNQN, Storage: unread{}}))
	must(port.Link(proberNQN))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	p.addr, err = netip.ParseAddrPort(l.Addr().String())
	must(err)
	served := make(chan error, 1)
	go func() { served <- port.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		p.Thaw()
		p.Close()
		must(<-served)
	})
	return p
}

// TestProberDisturbsNobody: before a connect, and of a host that is connected, a target is asked
// nothing that makes a controller of the subsystem.
func TestProberDisturbsNobody(t *testing.T) {
	p, ctx := newProberTest(t), t.Context()
	if found, err := (prober{}).Answers(ctx, p.addr.String()); err != nil || found != p.addr {
		t.Errorf("found %v, %v, want %s", found, err, p.addr)
	}
	if listed, err := (prober{}).Lists(ctx, p.addr.String(), p.host.NQN); !slices.Equal(listed, []string{proberNQN}) || err != nil {
		t.Errorf("listed %v, %v, want %s", listed, err, proberNQN)
	}
	if i := <-p.ended; i.Subsystem == proberNQN {
		t.Errorf("asking for the list made controller %+v", i)
	}
	if err := p.Allow(proberNQN, []string{}); err != nil {
		t.Fatal(err)
	}
	if listed, err := (prober{}).Lists(ctx, p.addr.String(), p.host.NQN); len(listed) > 0 || err != nil {
		t.Errorf("listed %v, %v to a host that is not allowed", listed, err)
	}
	p.Freeze()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := (prober{}).Answers(ctx, p.addr.String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("frozen: %v", err)
	}
	if _, err := (prober{}).Lists(ctx, p.addr.String(), p.host.NQN); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("frozen: %v", err)
	}
}

func TestProberAdmits(t *testing.T) {
	p := newProberTest(t)
	if err := (prober{}).Admits(t.Context(), p.addr.String(), p.host, proberNQN); err != nil {
		t.Error(err)
	}
	if i := <-p.ended; i.Subsystem != proberNQN || i.HostNQN != p.host.NQN || i.HostID.String() != p.host.ID {
		t.Errorf("asked as %+v", i)
	}
	err := (prober{}).Admits(t.Context(), p.addr.String(), actors.Host{NQN: p.host.NQN, ID: "none"}, proberNQN)
	if err == nil || errors.Is(err, nvme.ErrHostRefused) || errors.Is(err, nvme.ErrNotExported) {
		t.Errorf("host without an ID: %v", err)
	}
}

// TestRefusalIsTold: before a real target the driver tells the two causes of one error number apart.
func TestRefusalIsTold(t *testing.T) {
	p := newProberTest(t)
	if err := p.Allow(proberNQN, []string{}); err != nil {
		t.Fatal(err)
	}
	devices, err := nvme.NewDevices(nvme.Config{
		Sys: t.TempDir(), Prober: prober{},
		Fabrics: func(string) (string, error) { return "", syscall.EIO },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		nqn, words string
		kind       error
	}{
		{proberNQN, p.host.NQN, actors.ErrPrecondition},
		{proberNQN + "x", "does not export", actors.ErrUnavailable},
	} {
		_, err := devices.Connect(t.Context(), nvme.Target{NQN: c.nqn, Address: p.addr.Addr().String(), Port: p.addr.Port(), Host: p.host})
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%v, want %v and %q", err, c.kind, c.words)
		}
	}
}
